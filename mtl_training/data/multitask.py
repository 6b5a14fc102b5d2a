"""
The product data set: every iteration holds a batch of each task (Prellberg and Kramer, 2020).

Each task cycles through its own random permutations, so a small data set wraps around while a
large one is still on its first pass. All of it is a function of (seed, iteration): the sampler's
state is the iteration number alone, and a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
import random
from typing import Any, NamedTuple
from zlib import crc32

from mtl_training.data.sample import AnyDataset, Batch, collate, Sample
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

TasksAt = Callable[[int], Sequence[str]]


class SampleKey(NamedTuple):
    """One draw: which sample of which task, and its place in the task's endless sequence."""

    task: str
    index: int  # type: ignore[assignment]
    position: int


class EndlessPermutation:
    """An endless sequence of indices in which every pass over the data set is shuffled anew."""

    def __init__(self, length: int, *, seed: int, task: str) -> None:
        if length < 1:
            raise ValueError(f"the training data of task '{task}' must not be empty.")
        self._length = length
        self._entropy = (seed, crc32(task.encode()))
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self._length)
        if epoch != self._epoch:
            generator = np.random.default_rng([*self._entropy, epoch])
            self._epoch, self._order = epoch, generator.permutation(self._length)
        return int(self._order[offset])


class MultiTaskSampler(Sampler[list[SampleKey]]):
    """
    Draw the samples of every iteration, from a given iteration on and without end.

    :param lengths: Number of samples per task.
    :param batch_size: Samples per task and iteration, over all processes together; of each task
        by itself where it is a mapping.
    :param tasks_at: Which tasks an iteration trains; a task that pauses keeps its place.
    :param start: The first iteration to draw.
    :param rank: This process, of ``world_size``; each takes its share of every batch.
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        batch_size: int | Mapping[str, int],
        *,
        tasks_at: TasksAt,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        sizes = dict(batch_size) if isinstance(batch_size, Mapping) else {}
        if not isinstance(batch_size, Mapping):
            sizes = dict.fromkeys(lengths, batch_size)
        if uneven := [size for size in sizes.values() if size % world_size]:
            raise ValueError(
                f'batch_size must be a multiple of the {world_size} processes, got {uneven[0]}.'
            )
        self._permutations = {
            task: EndlessPermutation(length, seed=seed, task=task)
            for task, length in lengths.items()
        }
        self._batch_sizes, self._tasks_at, self._start = sizes, tasks_at, start
        self._rank, self._world_size = rank, world_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        turns = Counter(task for i in range(self._start) for task in self._tasks_at(i))
        for iteration in count(self._start):
            keys: list[SampleKey] = []
            for task in self._tasks_at(iteration):
                size = self._batch_sizes[task]
                first = turns[task] * size
                turns[task] += 1
                for offset in range(self._rank, size, self._world_size):
                    position = first + offset
                    keys.append(SampleKey(task, self._permutations[task][position], position))
            yield keys


class MultiTaskDataset(Dataset[tuple[str, Sample]]):
    """
    The data sets of all tasks behind one index.

    Whatever a data set draws at random (window, augmentation) is seeded by the place of the draw,
    so it depends neither on the number of workers nor on interruptions.
    """

    def __init__(self, datasets: Mapping[str, AnyDataset], *, seed: int = 0) -> None:
        self._datasets = dict(datasets)
        self._seed = seed

    def __getitem__(self, key: SampleKey) -> tuple[str, Sample]:
        with _seeded((self._seed, crc32(key.task.encode()), key.position)):
            return key.task, self._datasets[key.task][key.index]


class FixedDataset(Dataset[Sample]):
    """A data set whose samples are the same whenever they are asked for, as evaluation wants."""

    def __init__(self, dataset: AnyDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        with _seeded((index,)):
            return self._dataset[index]


def collate_tasks(samples: Sequence[tuple[str, Sample]]) -> dict[str, Batch]:
    """Group samples by task, each group a batch."""
    groups: dict[str, list[Any]] = {}
    for task, sample in samples:
        groups.setdefault(task, []).append(sample)
    return {task: collate(group) for task, group in groups.items()}


class _seeded:
    """Seed the global generators for one block, and put them back afterwards."""

    def __init__(self, entropy: Sequence[int]) -> None:
        words = np.random.SeedSequence(list(entropy)).generate_state(3, np.uint32)
        self._seeds = [int(word) for word in words]

    def __enter__(self) -> None:
        self._before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        random.seed(self._seeds[0])
        np.random.seed(self._seeds[1])  # noqa: NPY002
        # Not torch.manual_seed: that seeds every GPU as well, for good.
        torch.default_generator.manual_seed(self._seeds[2])

    def __exit__(self, *_: object) -> None:
        python, numpy, torch_state = self._before
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torch_state)
