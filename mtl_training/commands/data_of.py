"""The data sets that a checkpoint was trained with, what is said instead, and their split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
from dataclasses import replace
import inspect
import sys
from typing import Any, TypeVar

from mtl_perception.checkpoint import Checkpoint
from mtl_perception.network.config import from_mapping
from mtl_training.arguments import OneLineParser, Override
from mtl_training.config import DataConfig, read_yaml, RelevanceConfig, set_entry, SPLITS
from mtl_training.data.loading import FRAME_DATASETS
from mtl_training.data.videos.index import NoSplitError

T = TypeVar('T')
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


def add_split(parser: OneLineParser) -> None:
    """Add the option that says which split is judged; see :func:`of_judged_split`."""
    text = f'to judge on: {", ".join(SPLITS)} (default: test, or val where there is no test split)'
    parser.add_argument('--split', type=str, help=text)


def of_judged_split(given: str | None, build: Callable[[str], T]) -> tuple[str, T]:
    """
    Build what is judged, of the split that is asked for, of test, or else of val.

    Where a data set has no test split and none was asked for, a line says that val is judged.

    :param given: What is asked for; ``None``: test where there is one.
    :param build: Builds the data sets of a split.
    :return: The split, and what was built of it.
    :raises ValueError: If there is no such split.
    """
    split = given or 'test'
    try:
        return split, build(split)
    except NoSplitError as error:
        if split != 'test':
            raise
        reason = str(error).rstrip('.')
        if given:
            raise ValueError(
                f'--split test: {reason}. The validation split is judged by --split val.'
            ) from error
    # Not to the standard output, which may be read by a program.
    print(f'There is no test split, judged is val: {reason.partition(";")[0]}.', file=sys.stderr)
    return 'val', build('val')


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
