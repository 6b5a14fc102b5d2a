"""What a config's tasks list in each split, without decoding anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import inspect
import logging
from typing import Any, cast

from mtl_perception.network.config import FRAME_KINDS, GRAPH_KINDS
from mtl_training.config import SPLITS, TrainingConfig
from mtl_training.data.annotations.captions import Captions
from mtl_training.data.caption_sets import build_captioned, CAPTIONED_FILES
from mtl_training.data.captioned import CaptionedClips
from mtl_training.data.clip_sets import DATASETS, MULTI_LABEL_SETS
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.loading import build_dataset, FRAME_DATASETS
from mtl_training.data.multi_label import MultiLabelIndex
from mtl_training.data.sample import ClipDataset
from mtl_training.data.video_sets.mapping import merged_names
from mtl_training.data.videos.index import ClipIndex
from mtl_training.data.videos.registry import build_index, call_with_own, VIDEO_SETS
from mtl_training.tables import call_with, choose, nearest
import numpy as np


def chosen(config: TrainingConfig, task: str | None, split: str | None) -> list[tuple[str, str]]:
    """
    Return the tasks and splits that a run of a config reads, or those that are asked for.

    :raises ValueError: If there is no such task or split.
    """
    tasks = list(config.network.tasks)
    if task is not None and task not in tasks:
        raise ValueError(f"--task: the config has no task '{task}'. {nearest(task, tasks)}")
    if split is not None and split not in SPLITS:
        raise ValueError(f'--split must be one of {SPLITS}, got {split!r}.')
    read = SPLITS if config.evaluation.test else SPLITS[:2]
    splits = read if split is None else (split,)
    return [(t, s) for t in tasks if task in (None, t) for s in splits]


def looks_at_frames(config: TrainingConfig, task: str) -> bool:
    """Tell whether a task looks at single frames."""
    return config.network.tasks[task].kind in FRAME_KINDS


def looks_at_windows(config: TrainingConfig, task: str) -> bool:
    """Tell whether a task looks at windows of features."""
    return config.network.tasks[task].kind in GRAPH_KINDS


def windows(config: TrainingConfig, task: str, split: str) -> GraphDataset:
    """
    Return the windows of a task as they are judged.

    :raises ValueError: If the data set is not there in the layout that it has.
    """
    found = build_dataset(task, config.data[task], split, config.network, augment=False)
    return cast('GraphDataset', found)


def lists_videos(config: TrainingConfig, task: str) -> bool:
    """Tell whether a task's clips are those of an index function."""
    return not looks_at_frames(config, task) and config.data[task].dataset in VIDEO_SETS


def clip_index(config: TrainingConfig, task: str, split: str) -> tuple[ClipIndex, dict[str, Any]]:
    """
    Return the clips of a split, and the settings that are not about what is listed.

    :raises ValueError: If the data set is not there in the layout that it has.
    """
    data = config.data[task]
    settings = {name: value for name, value in data.of_split(split).items() if name != 'task'}
    return build_index(data.dataset, split, settings, f"data set '{data.dataset}'")


def has_captions(config: TrainingConfig, task: str) -> bool:
    """Tell whether a task learns sentences."""
    return config.network.tasks[task].kind == 'caption'


def shows_several(config: TrainingConfig, task: str) -> bool:
    """Tell whether the pictures of a task show several of its classes each."""
    return not has_captions(config, task) and config.data[task].dataset in MULTI_LABEL_SETS


def captions_of_files(config: TrainingConfig, task: str, split: str) -> Captions | None:
    """
    Return the captioned files of a split; nothing if they are rendered.

    :raises ValueError: If the data set is not there in the layout that it has.
    """
    data = config.data[task]
    if data.dataset not in CAPTIONED_FILES:
        return None
    where = f"data set '{data.dataset}'"
    return call_with_own(CAPTIONED_FILES[data.dataset], split, data.of_split(split), where)[0]


def rendered_captions(config: TrainingConfig, task: str, split: str) -> CaptionedClips:
    """
    Return rendered clips and their sentences, without embeddings; no cache is filled for it.

    :raises ValueError: If the data set or a setting is unknown.
    """
    data = config.data[task]
    settings = {**data.of_split(split), 'cache_dir': None}
    where = f"data set '{data.dataset}'"
    return build_captioned(
        data.dataset, task, split, settings, lambda s: np.zeros((len(s), 1), np.float32), where
    )


def multi_label_index(config: TrainingConfig, task: str, split: str) -> MultiLabelIndex:
    """
    Return the pictures of a split that show several classes.

    :raises ValueError: If the data set is not there in the layout that it has.
    """
    data = config.data[task]
    settings = {name: value for name, value in data.of_split(split).items() if name != 'task'}
    where = f"data set '{data.dataset}'"
    return call_with_own(MULTI_LABEL_SETS[data.dataset], split, settings, where)[0]


def rendered_clips(config: TrainingConfig, task: str, split: str) -> ClipDataset:
    """
    Return the data set of a task whose clips are no files; no cache is filled for it.

    :raises ValueError: If the data set or a setting is unknown.
    """
    factory = choose(DATASETS, config.data[task].dataset, 'dataset')
    uncached = {'cache_dir': None} if 'cache_dir' in inspect.signature(factory).parameters else {}
    data = config.data[task]
    return build_dataset(task, data, split, config.network, **uncached)  # type: ignore[return-value]


def frame_dataset(
    config: TrainingConfig, task: str, split: str, *, with_images: bool
) -> FrameDataset:
    """
    Return the images of a task as they are, at the size of its trunk.

    :param with_images: False gives the truth alone, of images that need not be there.
    :raises ValueError: If the data set is not there in the layout that it has.
    """
    data, kind = config.data[task], config.network.tasks[task].kind
    factory = choose(FRAME_DATASETS, data.dataset, 'dataset of frames')
    known = inspect.signature(factory).parameters
    preprocessing = config.network.trunks[config.network.tasks[task].trunk].preprocessing
    plain = {'augment': False, 'cache_dir': None}
    settings = {
        'size': tuple(preprocessing.size),
        'fit': preprocessing.fit,
        **data.of_split(split),
        'images': int(with_images),
        **{name: value for name, value in plain.items() if name in known},
    }
    return call_with(factory, f"data set '{data.dataset}'", (kind, split), settings)


def merged_members(config: TrainingConfig, task: str, split: str) -> dict[str, list[str]]:
    """Return, for a data set of several parts, the ``part/class`` that each class is made of."""
    settings = config.data[task].of_split(split)
    parts = settings.get('parts')
    if not isinstance(parts, Mapping):
        return {}
    labels = {part: _part_labels(block, split) for part, block in parts.items()}
    members: dict[str, list[str]] = {}
    for part, names in merged_names(labels, settings.get('mapping')).items():
        for own, name in names.items():
            members.setdefault(name, []).append(f'{part}/{own}')
    return members


def _part_labels(block: Mapping[str, Any], split: str) -> tuple[str, ...]:
    settings = {name: value for name, value in block.items() if name != 'dataset'}
    return build_index(block['dataset'], split, settings, block['dataset'])[0].labels


def printable(text: str) -> str:
    """Return a text that holds file names, of which any bytes can be part, as UTF-8 has it."""
    return text.encode(errors='replace').decode()


@contextmanager
def warnings_of_data() -> Iterator[list[str]]:
    """Collect what data sets warn of meanwhile, instead of printing it."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, listener = logging.getLogger('mtl_training'), Listener(logging.WARNING)
    propagates = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
