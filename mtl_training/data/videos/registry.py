"""The data sets of videos by name, and how settings find the function that they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import inspect
from typing import Any

from mtl_training.data.videos.index import ClipIndex
from mtl_training.tables import call_with, choose

# Called as function(split, **settings).
VIDEO_SETS: dict[str, Callable[..., ClipIndex]] = {}


def index_settings(dataset: str) -> list[str]:
    """Return the names of the settings that say what a data set lists."""
    return list(inspect.signature(choose(VIDEO_SETS, dataset, 'dataset')).parameters)[1:]


def build_index(
    dataset: str, split: str, settings: Mapping[str, Any], where: str
) -> tuple[ClipIndex, dict[str, Any]]:
    """
    List the clips of a data set.

    :param dataset: A key of ``VIDEO_SETS``.
    :param settings: Of the data set; those of the pipeline may be among them.
    :param where: What is being built, for messages.
    :return: The clips, and the settings that are not about what is listed.
    :raises ValueError: If the data set is unknown, or not there in the layout that it has.
    """
    own = index_settings(dataset)
    rest = {name: value for name, value in settings.items() if name not in own}
    chosen = {name: value for name, value in settings.items() if name in own}
    return call_with(VIDEO_SETS[dataset], where, (split,), chosen), rest
