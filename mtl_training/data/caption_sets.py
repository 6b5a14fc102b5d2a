"""The data sets of captions by name, and how their files become clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mtl_training.data.annotations.captions import Captions
from mtl_training.data.annotations.coco_captions import read_coco_split
from mtl_training.data.annotations.flickr8k import read_flickr8k
from mtl_training.data.annotations.msvd import read_msvd
from mtl_training.data.captioned import CaptionedClips, Embed
from mtl_training.data.synthetic.scene_captions import synthetic_captions
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.registry import call_with_own
from mtl_training.tables import call_with, choose

# Called as function(split, **settings).
CAPTIONED_FILES: dict[str, Callable[..., Captions]] = {
    'coco_captions': read_coco_split,
    'flickr8k': read_flickr8k,
    'msvd': read_msvd,
}
# The others are called as factory(task, split, embed, num_frames=, clip_seconds=, size=,
# **settings).
CAPTION_DATASETS: dict[str, Callable[..., Any]] = {
    **CAPTIONED_FILES,
    'synthetic': synthetic_captions,
}
_LANGUAGE = 'English'


def build_captioned(
    dataset: str, task: str, split: str, settings: Mapping[str, Any], embed: Embed, where: str
) -> CaptionedClips:
    """
    Build a data set of captions.

    :param dataset: A key of :data:`CAPTION_DATASETS`.
    :param settings: Of the data set, and of :class:`VideoClips` where it is one of files.
    :param embed: Places sentences in the space that the task learns.
    :param where: What is being built, for messages.
    :raises ValueError: If the data set or a setting is unknown, or nothing is there.
    """
    factory = choose(CAPTION_DATASETS, dataset, 'dataset of captions')
    if dataset not in CAPTIONED_FILES:
        return call_with(factory, where, (task, split, embed), settings)
    captions, rest = call_with_own(CAPTIONED_FILES[dataset], split, settings, where)
    clips = call_with(VideoClips, where, (task, split, index_of(captions)), rest)
    said = [captions.files[entry.label].captions for entry in clips.entries]
    is_english = settings.get('language', _LANGUAGE) == _LANGUAGE
    return CaptionedClips(task, clips, said, embed, may_mirror=is_english)


def index_of(captions: Captions) -> ClipIndex:
    """Return the captioned files as a list of clips, numbered in their order."""
    entries = [ClipEntry(file.path, number) for number, file in enumerate(captions.files)]
    return ClipIndex((), entries, [*captions.missing])
