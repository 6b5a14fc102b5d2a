"""Which training labels to look at: those that instance-level task parameters trust least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from pathlib import Path
from typing import cast

from mtl_perception.checkpoint import load_network
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.config import build_config, read_yaml, TrainingConfig
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.loading import build_dataset
from mtl_training.data.multitask import FixedDataset
from mtl_training.data.sample import ClipBatch, ClipDataset, ClipSample, collate, describe, Sample
from mtl_training.inputs import TaskInputs
from mtl_training.run_folder import RunFolder
from mtl_training.run_state import load_module, load_state
from mtl_training.tables import nearest
from mtl_training.weighting import build_weighting, InstanceLevelWeighting
import torch
from torch import Tensor

WEIGHTING = 'instance_level'
NUM_THUMBNAILS = 4


@dataclass(frozen=True, slots=True)
class Suspect:
    """A training clip and what speaks against its label."""

    index: int  # in the training split
    label: str  # as given
    label_probability: float  # of this label
    s: float  # its log-variance
    sigma_squared: float  # exp(s)
    predicted: str
    probability: float  # of what is predicted
    source: str  # where the clip came from; empty: not known
    corrupted: bool | None  # whether the label was made wrong on purpose; None: not known


@dataclass(frozen=True, slots=True)
class TaskAudit:
    """The training clips of one task whose labels are trusted least, worst first."""

    task: str
    suspects: list[Suspect]
    thumbnails: Tensor  # uint8 [N, F, H, W, 3], a few frames of each
    num_samples: int
    visits: float  # how often the run has seen each sample
    num_corrupted: int | None  # labels that were made wrong on purpose; None: not known
    found: float | None  # their share among as many of the least trusted


class AuditedRun:
    """
    A run with instance-level task parameters.

    :param path: The run's folder, whose best checkpoint is the network that is asked, or the last
        where there is no best; or a checkpoint in the folder, which is asked itself.
    :raises ValueError: If it is no such run, or not whole.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.folder = RunFolder(path if path.is_dir() else path.parent)
        self.config = build_config(read_yaml(self.folder.config))
        if (name := self.config.weighting.name) != WEIGHTING:
            raise ValueError(
                f"'{self.folder.path}' was trained with weighting '{name}', which learns nothing "
                f'about single clips: train with --weighting.name {WEIGHTING} and audit that run.'
            )
        state = load_state(self.folder.state)
        self._samples = state.facts['progress']['samples']
        self.weighting = _weighting(self.config, state.modules['weighting'])
        self.checkpoint = _checkpoint(path, self.folder)
        network, _ = load_network(self.checkpoint)
        self._labels = {name: task.labels for name, task in network.config.tasks.items()}
        if self._labels != {n: tuple(of) for n, of in state.facts['labels'].items()}:
            raise ValueError(f"'{self.checkpoint}' is no checkpoint of the run in its folder.")
        self.network = network.deploy()

    def tasks(self, task: str | None = None) -> list[str]:
        """
        Return the tasks to audit: the named one, or all of clips.

        :raises ValueError: If the run has no such task, or it is one of frames.
        """
        tasks = self.config.network.tasks
        if task is not None and task not in tasks:
            raise ValueError(f"the run has no task '{task}'. {nearest(task, [*tasks])}")
        clip_tasks = [name for name, entry in tasks.items() if entry.kind == 'classification']
        if not clip_tasks or (task is not None and task not in clip_tasks):
            kind = 'the run has none' if task is None else f"'{task}' is of {tasks[task].kind}"
            raise ValueError(f'an audit is for tasks of labels, {kind}.')
        return clip_tasks if task is None else [task]

    def dataset(self, task: str) -> ClipDataset:
        """
        Return the training clips of a task, as they are, with the labels that were trained on.

        Clips that were exchanged for as many others are not noticed: no run stores its data.

        :raises ValueError: If they are not as many as they were, or have other labels.
        """
        data = self.config.data[task]
        plain = {'augment': False} if 'augment' in data.of_split('train') else {}
        dataset = cast(
            'ClipDataset', build_dataset(task, data, 'train', self.config.network, **plain)
        )
        trained = len(self.weighting.log_variances(task))
        if len(dataset) != trained:
            raise ValueError(
                f"the training data of task '{task}' has changed: the run had {trained} clips, "
                f'now there are {len(dataset)}.'
            )
        if dataset.labels != self._labels[task]:
            raise ValueError(
                f"the training data of task '{task}' has changed: the run had the labels "
                f'{list(self._labels[task])}, now they are {list(dataset.labels)}.'
            )
        return dataset

    def candidates(self, task: str, top: int) -> Tensor:
        """
        Return which training clips of a task may be among the first ``top``, int64 ``[N]``.

        They come in the order of their log-variances; those that tie with the last are there too.
        """
        log_variances, order = self.weighting.log_variances(task).sort(
            descending=True, stable=True
        )
        least = log_variances[min(top, len(order)) - 1]
        return order[: int((log_variances >= least).sum())]

    def visits(self, task: str) -> float:
        """Return how often the run has seen each training clip of a task."""
        return float(self._samples.get(task, 0) / len(self.weighting.log_variances(task)))


def audit(
    run: AuditedRun,
    task: str,
    *,
    top: int = 50,
    batch_size: int = 16,
    on_batch: Callable[[int], None] = lambda clips: None,
) -> TaskAudit:
    """
    Rank the training clips of a task by their log-variances and look at the first of them.

    Of clips with equal log-variances, as at the bound, those come first whose label the network
    finds the least probable.

    :param top: How many to look at; only these are loaded, and all others that tie with the last.
    :param batch_size: Clips per forward pass.
    :param on_batch: Called with the number of clips after each batch.
    """
    dataset = run.dataset(task)
    # Where a data set draws a window of its video, always the same one.
    fixed = FixedDataset(dataset)
    suspects: list[Suspect] = []
    for indices in run.candidates(task, top).split(batch_size):
        batch = collate([fixed[int(index)] for index in indices])
        assert isinstance(batch, ClipBatch)
        suspects += _suspects(run, task, dataset, batch)
        on_batch(len(indices))
    suspects.sort(key=lambda suspect: (-suspect.s, suspect.label_probability, suspect.index))
    first = [suspect.index for suspect in suspects]
    rest = run.candidates(task, len(dataset))[len(first) :]
    order = torch.cat([torch.tensor(first), rest])
    return TaskAudit(
        task,
        suspects[:top],
        torch.stack([_thumbnail(fixed[index]) for index in first[:top]]),
        len(dataset),
        run.visits(task),
        *_known(dataset, order),
    )


def _checkpoint(path: Path, folder: RunFolder) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"'{path}' does not exist: name a run's folder or a checkpoint in it.")
    stored = [file for file in (folder.best, folder.last) if file.exists()]
    if not stored:
        raise ValueError(f"'{folder.path}' has no checkpoint yet.")
    return stored[0]


def _weighting(config: TrainingConfig, tables: dict[str, Tensor]) -> InstanceLevelWeighting:
    tasks = list(config.network.tasks)
    weighting = build_weighting(WEIGHTING, tasks, **config.weighting.settings)
    assert isinstance(weighting, InstanceLevelWeighting)
    weighting.prepare({task: len(tables[f'tables.{task}.log_variances']) for task in tasks})
    load_module(weighting, tables, 'weighting')
    return weighting


@torch.no_grad()
def _probabilities(network: MultiTaskNetwork, task: str, batch: ClipBatch) -> Tensor:
    dtype = next(network.parameters()).dtype
    clips = TaskInputs(network.config, dtype=dtype)({task: batch})
    return network.forward_tasks(clips)[task].float().softmax(1)


def _suspects(
    run: AuditedRun, task: str, dataset: ClipDataset, batch: ClipBatch
) -> Iterator[Suspect]:
    corrupted = dataset.corrupted if isinstance(dataset, NoisyLabels) else None
    log_variances = run.weighting.log_variances(task)[batch.indices]
    probabilities = _probabilities(run.network, task, batch)
    for index, label, s, row in zip(batch.indices.tolist(), batch.labels.tolist(),
                                    log_variances.tolist(), probabilities.tolist()):  # fmt: skip
        probability = max(row)
        yield Suspect(
            index=index,
            label=dataset.labels[label],
            label_probability=row[label],
            s=s,
            sigma_squared=math.exp(s),
            predicted=dataset.labels[row.index(probability)],
            probability=probability,
            source=describe(dataset, index),
            corrupted=None if corrupted is None else bool(corrupted[index]),
        )


def _thumbnail(sample: Sample) -> Tensor:
    assert isinstance(sample, ClipSample)
    last = len(sample.frames) - 1
    return sample.frames[torch.linspace(0, last, NUM_THUMBNAILS).round().long()]


def _known(dataset: ClipDataset, order: Tensor) -> tuple[int | None, float | None]:
    """Return how many labels are wrong on purpose, and which share of as many is found."""
    if not isinstance(dataset, NoisyLabels):
        return None, None
    count = int(dataset.corrupted.sum())
    return count, float(dataset.corrupted[order[:count]].float().mean()) if count else None
