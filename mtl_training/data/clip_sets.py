"""The data sets of clips by name: rendered ones, and those of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import inspect
from typing import Any, cast

from mtl_perception.network.config import PreprocessingConfig
from mtl_training.data.multi_label import MultiLabelClips, MultiLabelIndex, voc2012
from mtl_training.data.sample import ClipDataset
from mtl_training.data.synthetic import SyntheticClips
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.registry import build_clips, call_with_own, VIDEO_SETS
from mtl_training.tables import call_with, choose

# Called as function(split, **settings).
MULTI_LABEL_SETS: dict[str, Callable[..., MultiLabelIndex]] = {'voc2012': voc2012}
# Called as factory(task, split, num_frames=, clip_seconds=, size=(height, width), **settings);
# those of videos and of pictures are functions that list them.
DATASETS: dict[str, Callable[..., Any]] = {
    'synthetic': SyntheticClips,
    **VIDEO_SETS,
    **MULTI_LABEL_SETS,
}


def build_clip_set(
    dataset: str,
    task: str,
    split: str,
    given: Mapping[str, Any],
    preprocessing: PreprocessingConfig,
    where: str,
) -> ClipDataset:
    """
    Build a data set of clips.

    :param dataset: A key of :data:`DATASETS`.
    :param task: Whose clips, unless the setting ``task`` says it.
    :param given: Settings of the data set, and ``num_frames``, ``clip_seconds`` and ``size``.
    :param preprocessing: Of the trunk that will see the clips.
    :param where: What is being built, for messages.
    :raises ValueError: If the data set or a setting is unknown, or nothing is there.
    """
    settings = dict(given)
    factory = choose(DATASETS, dataset, 'dataset')
    name = settings.pop('task', task)
    if dataset in VIDEO_SETS or dataset in MULTI_LABEL_SETS:
        meet_trunk(settings, preprocessing)
    elif 'fit' in inspect.signature(factory).parameters:
        settings.setdefault('fit', preprocessing.fit)
    if dataset in MULTI_LABEL_SETS:
        listed, rest = call_with_own(MULTI_LABEL_SETS[dataset], split, settings, where)
        clips = call_with(VideoClips, where, (name, split, listed.clips), rest)
        return MultiLabelClips(name, listed.labels, clips, listed.flags)
    if dataset in VIDEO_SETS:
        return build_clips(dataset, name, split, settings, where)
    return cast(ClipDataset, call_with(factory, where, (name, split), settings))


def meet_trunk(settings: dict[str, Any], preprocessing: PreprocessingConfig) -> None:
    """Let pictures of any shape meet the trunk's input as the robot's do."""
    settings.setdefault('fit', preprocessing.fit)
    if settings['size'] == tuple(preprocessing.resize):
        settings.setdefault('crop', preprocessing.crop)
