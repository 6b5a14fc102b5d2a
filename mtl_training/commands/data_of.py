"""The data sets that a checkpoint was trained with, and what the command line says instead."""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import replace
import inspect
from typing import Any

from mtl_perception.checkpoint import Checkpoint
from mtl_perception.network.config import from_mapping
from mtl_training.arguments import Override
from mtl_training.config import DataConfig, read_yaml, RelevanceConfig, set_entry
from mtl_training.data.loading import FRAME_DATASETS

SECTIONS = ('data', 'relevance')


def data_of(
    checkpoint: Checkpoint,
    path: str,
    overrides: Sequence[Override],
    *,
    settable: Sequence[str] = SECTIONS,
) -> tuple[dict[str, DataConfig], RelevanceConfig]:
    """
    Return the data sets of the tasks, and the backgrounds among the rest of ``relevance``.

    :param path: The checkpoint's, for messages.
    :param settable: What overrides may lie in.
    :raises ValueError: If there are none, or something else is overridden.
    """
    trained = copy.deepcopy(checkpoint.training.get('config') or {})
    merged: dict[str, Any] = {name: trained.get(name) or {} for name in SECTIONS}
    for dotted, value in overrides:
        if not any(f'{dotted}.'.startswith(f'{section}.') for section in settable):
            known = ' and '.join(settable)
            raise ValueError(f"'--{dotted}': only entries of {known} can be set here.")
        from_file = dotted in SECTIONS and isinstance(value, str)
        set_entry(merged, dotted, read_yaml(value) if from_file else value)
    if not merged['data']:
        raise ValueError(
            f"checkpoint '{path}' does not tell its data sets; name them, as in "
            '--data.action.dataset synthetic.'
        )
    for task in merged['data']:
        if task not in checkpoint.config.tasks:
            known = ', '.join(checkpoint.config.tasks)
            raise ValueError(f"the checkpoint has no task '{task}'; its tasks: {known}.")
    data = {
        task: from_mapping(DataConfig, block, f'data.{task}')
        for task, block in merged['data'].items()
    }
    return data, from_mapping(RelevanceConfig, merged['relevance'], 'relevance')


def plain(data: DataConfig, split: str, **settings: Any) -> DataConfig:
    """Return the data of a split with other settings, and as they are where training varies."""
    varied = {'augment': False} if 'augment' in data.of_split(split) else {}
    return replace(data, **{split: {**getattr(data, split), **varied, **settings}})  # type: ignore[arg-type]


def fewer_images(data: DataConfig, split: str, count: int | None) -> DataConfig:
    """
    Return the data of a split with that many images, by the setting ``num_images``.

    :raises ValueError: If the data set has no such setting.
    """
    if count is None:
        return data
    factory = FRAME_DATASETS.get(data.dataset)
    if factory is not None and 'num_images' not in inspect.signature(factory).parameters:
        raise ValueError(f"--num-images: the data set '{data.dataset}' has no such setting.")
    return plain(data, split, num_images=count)
