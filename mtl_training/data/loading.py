"""From the data section of a config to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import os
import signal
import threading
from typing import Any, cast

import cv2
from mtl_perception.network.config import (
    FIXED_LABELS,
    FRAME_KINDS,
    GRAPH_KINDS,
    NetworkConfig,
)
from mtl_perception.network.heads import settings_of
from mtl_training.config import DataConfig, TrainingConfig
from mtl_training.data.caption_sets import build_captioned
from mtl_training.data.clip_sets import build_clip_set, meet_trunk, MULTI_LABEL_SETS
from mtl_training.data.coco_keypoints import CocoKeypoints
from mtl_training.data.embedding import embedder
from mtl_training.data.frame_sample import FrameDataset, FrameSample
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.mpii import MpiiActivities
from mtl_training.data.multitask import (
    collate_tasks,
    FixedDataset,
    MultiTaskDataset,
    MultiTaskSampler,
    TasksAt,
)
from mtl_training.data.sample import AnyDataset, Batch, collate, Sample
from mtl_training.data.segments.registry import build_windows
from mtl_training.data.synthetic import SyntheticFrames
from mtl_training.tables import call_with, choose
import torch
from torch.utils.data import DataLoader, Subset

# Of tasks that look at frames; called as factory(kind, split, size=(height, width), fit=, images=,
# history=, history_seconds=, **settings).
FRAME_DATASETS: dict[str, Callable[..., Any]] = {
    'coco': CocoKeypoints,
    'mpii': MpiiActivities,
    'synthetic': SyntheticFrames,
}
# The kind that asks for a data set which several tasks share: what it needs, the others can use.
_BY_NEED = ('activity', 'keypoints', 'detection', 'association')


def build_dataset(
    task: str, data: DataConfig, split: str, network: NetworkConfig, **overrides: Any
) -> AnyDataset:
    """
    Build the data set of one task and split, at the clip length and size of its trunk.

    That of training has no pixels where the task learns from poses alone.

    :param overrides: Settings that win over those of the config.
    :raises ValueError: If the data set or one of its settings is unknown.
    """
    kind = network.tasks[task].kind
    if split == 'train' and kind in ('association', 'activity'):
        overrides.setdefault('images', 0)
    if kind in FRAME_KINDS:
        return _build_frames([task], data, split, network, **overrides)[task]
    if kind in GRAPH_KINDS:
        return _build_windows(task, data, split, network, **overrides)
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
    where = f"data set '{data.dataset}' of task '{task}'"
    if data.label_noise and (kind == 'caption' or data.dataset in MULTI_LABEL_SETS):
        raise ValueError(f'{where}: label_noise is for clips of one class each.')
    if kind == 'caption':
        if data.dataset != 'synthetic':
            meet_trunk(settings, trunk.preprocessing)
        embed = embedder(settings_of(task, network.tasks[task]), settings.get('cache_dir'))
        return build_captioned(data.dataset, task, split, settings, embed, where)
    dataset = build_clip_set(data.dataset, task, split, settings, trunk.preprocessing, where)
    if split != 'train' or not data.label_noise:
        return dataset
    return NoisyLabels(dataset, data.label_noise, seed=data.label_noise_seed)


def _build_windows(
    task: str, data: DataConfig, split: str, network: NetworkConfig, **overrides: Any
) -> AnyDataset:
    if data.label_noise:
        raise ValueError(
            f"data set '{data.dataset}' of task '{task}': label_noise is for clips of one class "
            'each.'
        )
    config = network.tasks[task]
    graph = network.trunks[config.trunk].graph
    assert graph is not None
    return build_windows(
        data.dataset,
        task,
        config.kind,
        split,
        {**data.of_split(split), **overrides},
        settings=settings_of(task, config),
        graph=graph,
    )


def build_datasets(config: TrainingConfig, split: str, **overrides: Any) -> dict[str, AnyDataset]:
    """Build the data sets of all tasks for one split, that of training to be learnt from."""
    network, data = config.network, config.data
    if split != 'train':
        return build_task_datasets(network, data, split, **overrides)
    return {
        task: build_dataset(task, data[task], split, network, **overrides)
        for task in network.tasks
        if task in data
    }


def build_task_datasets(
    network: NetworkConfig, data: Mapping[str, DataConfig], split: str, **overrides: Any
) -> dict[str, AnyDataset]:
    """
    Build the data sets of tasks for one split, to be judged on.

    Frame tasks with the same data share one data set, so that they can be judged together.
    """
    datasets: dict[str, AnyDataset] = {}
    for task in network.tasks:
        if task in datasets or task not in data:
            continue
        if network.tasks[task].kind not in FRAME_KINDS:
            datasets[task] = build_dataset(task, data[task], split, network, **overrides)
            continue
        same = [
            other
            for other in network.tasks
            if other in data
            and network.tasks[other].kind in FRAME_KINDS
            and data[other].dataset == data[task].dataset
            and data[other].of_split(split) == data[task].of_split(split)
        ]
        datasets |= _build_frames(same, data[task], split, network, **overrides)
    return {task: datasets[task] for task in network.tasks if task in datasets}


class SharedFrames:
    """
    What one task sees of a data set that several tasks share.

    :param shared: The data set.
    """

    def __init__(self, task: str, labels: tuple[str, ...], shared: FrameDataset) -> None:
        self.task, self.labels, self.shared = task, labels, shared

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.shared)

    def __getitem__(self, index: int) -> FrameSample:
        """Return one annotated image."""
        return self.shared[index]


def _build_frames(
    tasks: Sequence[str], data: DataConfig, split: str, network: NetworkConfig, **overrides: Any
) -> dict[str, AnyDataset]:
    kinds = {network.tasks[task].kind: task for task in tasks}
    kind = next(kind for kind in _BY_NEED if kind in kinds)
    task = kinds[kind]
    trunk = network.trunks[network.tasks[task].trunk]
    settings = {
        'size': tuple(trunk.preprocessing.size),
        'fit': trunk.preprocessing.fit,
        'images': 1,
        **data.of_split(split),
        **overrides,
    }
    activity = network.task_of_kind('activity')
    if kind == 'activity' and activity:
        looks_back = settings_of(activity, network.tasks[activity])
        settings.setdefault('history', looks_back.history)
        settings.setdefault('history_seconds', looks_back.history_seconds)
        if 'images' not in overrides:
            settings['images'] = settings['history']
    factory = choose(FRAME_DATASETS, data.dataset, 'dataset of frames')
    names = ', '.join(f"'{name}'" for name in tasks)
    where = f"data set '{data.dataset}' of {'tasks' if len(tasks) > 1 else 'task'} {names}"
    dataset = cast('FrameDataset', call_with(factory, where, (kind, split), settings))
    if data.label_noise:
        raise ValueError(f'{where}: label_noise is for clips.')
    if len(tasks) == 1:
        return {task: dataset}
    return {
        name: SharedFrames(
            name, FIXED_LABELS.get(network.tasks[name].kind, tuple(dataset.labels)), dataset
        )
        for name in tasks
    }


def with_labels(network: NetworkConfig, datasets: Mapping[str, AnyDataset]) -> NetworkConfig:
    """
    Return the network config with the labels, and the groups of labels, of the data sets.

    :raises ValueError: If the config names other labels than the data set has.
    """
    groups = {}
    for task, dataset in datasets.items():
        _check_same(f"the labels of task '{task}'", network.tasks[task].labels, dataset.labels)
        if found := getattr(dataset, 'groups', {}):
            named = network.tasks[task].groups
            if named and list(named) != list(found):
                raise ValueError(
                    f"the groups of task '{task}' differ from those of its data set: "
                    f'{list(named)} against {list(found)}.'
                )
            for group, labels in named.items():
                _check_same(f"the labels '{group}' of task '{task}'", labels, found[group])
            groups[task] = found
    labelled = network.with_labels({task: tuple(d.labels) for task, d in datasets.items()})
    return labelled.with_groups(groups)


def _check_same(what: str, named: Sequence[str], found: Sequence[str]) -> None:
    if named and tuple(named) != tuple(found):
        raise ValueError(
            f'{what} differ from those of its data set: {list(named)} against {list(found)}.'
        )


def training_batches(
    datasets: Mapping[str, AnyDataset],
    config: TrainingConfig,
    *,
    tasks_at: TasksAt,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[dict[str, Batch]]:
    """Yield the batches of every iteration from ``start`` on, without end."""
    sampler = MultiTaskSampler(
        {task: len(dataset) for task, dataset in datasets.items()},
        {task: config.batch_size_of(task) for task in datasets},
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
    dataset: AnyDataset, batch_size: int, *, workers: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Yield every sample of a data set once, in order; with several processes, a share of them."""
    fixed = FixedDataset(dataset)
    loader: DataLoader[Sample] = DataLoader(
        fixed if share[1] == 1 else Subset(fixed, range(share[0], len(fixed), share[1])),
        batch_size=batch_size,
        collate_fn=collate,
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
