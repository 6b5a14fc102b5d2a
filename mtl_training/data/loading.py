"""From the data section of a config to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import inspect
import os
import signal
import threading
from typing import Any, cast

import cv2
from mtl_perception.network.config import NetworkConfig
from mtl_training.config import DataConfig, TrainingConfig
from mtl_training.data.folder import FolderClips
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.multitask import (
    collate_tasks,
    FixedDataset,
    MultiTaskDataset,
    MultiTaskSampler,
    TasksAt,
)
from mtl_training.data.sample import ClipBatch, ClipDataset, ClipSample, collate_clips
from mtl_training.data.synthetic import SyntheticClips
from mtl_training.tables import call_with, choose
import torch
from torch.utils.data import DataLoader, Subset

# Called as factory(task, split, num_frames=, clip_seconds=, size=(height, width), **settings).
DATASETS: dict[str, Callable[..., Any]] = {
    'folder': FolderClips,
    'synthetic': SyntheticClips,
}


def build_dataset(
    task: str, data: DataConfig, split: str, network: NetworkConfig, **overrides: Any
) -> ClipDataset:
    """
    Build the data set of one task and split, at the clip length and size of its trunk.

    :param overrides: Settings that win over those of the config.
    :raises ValueError: If the data set or one of its settings is unknown.
    """
    trunk = network.trunks[network.tasks[task].trunk]
    settings = {
        'num_frames': trunk.num_frames,
        'clip_seconds': trunk.clip_seconds,
        'size': tuple(trunk.preprocessing.resize),
        **data.of_split(split),
        **overrides,
    }
    if isinstance(settings['size'], list):
        settings['size'] = tuple(settings['size'])
    factory = choose(DATASETS, data.dataset, 'dataset')
    if 'fit' in inspect.signature(factory).parameters:
        # Pictures of any shape: they must meet the trunk's input as the robot's do.
        settings.setdefault('fit', trunk.preprocessing.fit)
    name = settings.pop('task', task)
    where = f"data set '{data.dataset}' of task '{task}'"
    dataset = cast(ClipDataset, call_with(factory, where, (name, split), settings))
    if split != 'train' or not data.label_noise:
        return dataset
    return NoisyLabels(dataset, data.label_noise, seed=data.label_noise_seed)


def build_datasets(config: TrainingConfig, split: str, **overrides: Any) -> dict[str, ClipDataset]:
    """Build the data sets of all tasks for one split."""
    return {
        task: build_dataset(task, config.data[task], split, config.network, **overrides)
        for task in config.network.tasks
    }


def with_labels(network: NetworkConfig, datasets: Mapping[str, ClipDataset]) -> NetworkConfig:
    """
    Return the network config with the labels of the data sets.

    :raises ValueError: If the config names other labels than the data set has.
    """
    for task, dataset in datasets.items():
        named = network.tasks[task].labels
        if named and tuple(named) != tuple(dataset.labels):
            raise ValueError(
                f"the labels of task '{task}' differ from those of its data set: "
                f'{list(named)} against {list(dataset.labels)}.'
            )
    return network.with_labels({task: tuple(d.labels) for task, d in datasets.items()})


def training_batches(
    datasets: Mapping[str, ClipDataset],
    config: TrainingConfig,
    *,
    tasks_at: TasksAt,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[dict[str, ClipBatch]]:
    """Yield the batches of every iteration from ``start`` on, without end."""
    sampler = MultiTaskSampler(
        {task: len(dataset) for task, dataset in datasets.items()},
        config.batch_size,
        tasks_at=tasks_at,
        seed=config.seed,
        start=start,
        rank=rank,
        world_size=world_size,
    )
    loader: DataLoader[Any] = DataLoader(
        MultiTaskDataset(datasets, seed=config.seed),
        batch_sampler=sampler,
        collate_fn=collate_tasks,
        num_workers=config.workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        # Without its own generator the loader would draw from the global one, whose state is part
        # of what a resume restores.
        generator=torch.Generator(),
    )
    return iter(loader)


def evaluation_batches(
    dataset: ClipDataset, batch_size: int, *, workers: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[ClipBatch]:
    """Yield every sample of a data set once, in order; with several processes, a share of them."""
    fixed = FixedDataset(dataset)
    loader: DataLoader[ClipSample] = DataLoader(
        fixed if share[1] == 1 else Subset(fixed, range(share[0], len(fixed), share[1])),
        batch_size=batch_size,
        collate_fn=collate_clips,
        num_workers=workers,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),
    )
    return iter(loader)  # type: ignore[arg-type]


def _start_worker(_: int) -> None:
    # Ctrl-C, and SIGTERM from SLURM or systemd, reach the whole process group; the trainer alone
    # decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_when_the_loader_says, daemon=True).start()
    cv2.setNumThreads(0)


def _end_when_the_loader_says() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
