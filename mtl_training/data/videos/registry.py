"""The data sets of videos by name, and how settings find the function that they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import inspect
from typing import Any, TypeVar

from mtl_training.data.video_sets.folder import folder
from mtl_training.data.video_sets.hmdb51 import hmdb51
from mtl_training.data.video_sets.isogd import isogd
from mtl_training.data.video_sets.jester import jester
from mtl_training.data.video_sets.kinetics400 import kinetics400
from mtl_training.data.video_sets.merged import merged
from mtl_training.data.video_sets.ntu_rgbd import ntu_rgbd
from mtl_training.data.video_sets.nvgesture import nvgesture
from mtl_training.data.video_sets.ucf101 import ucf101
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipIndex
from mtl_training.tables import call_with, choose, nearest

T = TypeVar('T')
# Called as function(split, **settings).
VIDEO_SETS: dict[str, Callable[..., ClipIndex]] = {
    'folder': folder,
    'hmdb51': hmdb51,
    'isogd': isogd,
    'jester': jester,
    'kinetics400': kinetics400,
    'merged': merged,
    'ntu_rgbd': ntu_rgbd,
    'nvgesture': nvgesture,
    'ucf101': ucf101,
}


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
    :raises ValueError: If the data set or a setting is unknown, or the data set is not there in
        the layout that it has.
    """
    return call_with_own(choose(VIDEO_SETS, dataset, 'dataset'), split, settings, where)


def call_with_own(
    function: Callable[..., T], split: str, settings: Mapping[str, Any], where: str
) -> tuple[T, dict[str, Any]]:
    """
    Call a function that lists a data set with those of the settings that are its own.

    :param function: Called as ``function(split, **settings)``.
    :param settings: Its own, and those of :class:`VideoClips`.
    :param where: What is being built, for messages.
    :return: What it lists, and the settings of the pipeline.
    :raises ValueError: If a setting is unknown, or the data set is not there.
    """
    own = list(inspect.signature(function).parameters)[1:]
    read = list(inspect.signature(VideoClips).parameters)[3:]
    if unknown := [name for name in settings if name not in (*own, *read)]:
        near = nearest(unknown[0], [*own, *read])
        raise ValueError(
            f"{where} has no setting '{unknown[0]}'. "
            + (f'{near} ' if near.startswith('Did') else '')
            + f'Settings of what there is: {", ".join(own)}; of how it is read: {", ".join(read)}.'
        )
    rest = {name: value for name, value in settings.items() if name not in own}
    chosen = {name: value for name, value in settings.items() if name in own}
    return call_with(function, where, (split,), chosen), rest


def build_clips(
    dataset: str, task: str, split: str, settings: Mapping[str, Any], where: str
) -> VideoClips:
    """
    List the clips of a data set, and see which of them decode.

    :param dataset: A key of ``VIDEO_SETS``.
    :param settings: Of the data set and of :class:`VideoClips`.
    :param where: What is being built, for messages.
    :raises ValueError: If the data set or a setting is unknown, or nothing is there.
    """
    index, rest = build_index(dataset, split, settings, where)
    return call_with(VideoClips, where, (task, split, index), rest)
