"""Pictures and clips that show several classes at once."""

from __future__ import annotations

from typing import NamedTuple

from mtl_training.data.annotations.voc2012 import PRESENT, read_voc_labels, UNCERTAIN
from mtl_training.data.sample import ClipSample, varies
from mtl_training.data.video_sets.lists import official_split
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.index import (
    check_split,
    ClipEntry,
    ClipIndex,
    is_held_out,
    NoSplitError,
)
import numpy as np
from numpy.typing import NDArray
import torch


class MultiLabelIndex(NamedTuple):
    """The pictures of a split, before any of them is opened."""

    labels: tuple[str, ...]
    clips: ClipIndex  # whose entries count from 0
    flags: NDArray[np.int8]  # [N, C]; 1 present, -1 absent, 0 uncertain


class MultiLabelClips:
    """
    A data set whose samples show any number of its classes.

    The label of a sample is its row of ``targets``: the classes that it shows, equally likely;
    all zeros where every class that it may show is uncertain. Samples that stand in for damaged
    ones bring their own row along.

    :param task: Name of the task.
    :param labels: Names of the classes.
    :param clips: Whose entries are numbered by the rows of ``flags``.
    :param flags: ``[N, C]``; 1 present, -1 absent, 0 uncertain.
    """

    def __init__(
        self, task: str, labels: tuple[str, ...], clips: VideoClips, flags: NDArray[np.int8]
    ) -> None:
        self.task, self.labels, self.clips = task, labels, clips
        self.split = clips.split
        found = torch.from_numpy(flags[[entry.label for entry in clips.entries]])
        self.positives, self.ignored = found == PRESENT, found == UNCERTAIN
        shown = self.positives.float()
        self.targets = shown / shown.sum(1, keepdim=True).clamp(min=1)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def varies(self) -> bool:
        """Tell whether its pictures are others whenever they are asked for."""
        return varies(self.clips)

    def __getitem__(self, index: int) -> ClipSample:
        """Return a clip and its row of ``targets``."""
        frames, shown = self.clips.plain(index)
        frames, _ = self.clips.varied(frames, may_mirror=True)
        return ClipSample(torch.from_numpy(frames), shown, index)

    def describe(self, index: int) -> str:
        """Return where a clip came from."""
        return self.clips.describe(index)

    def video_of(self, index: int) -> str:
        """Return the file that a clip is of."""
        return self.clips.video_of(index)


def voc2012(split: str, *, root: str, val_share: float = 0.0) -> MultiLabelIndex:
    """
    PASCAL VOC2012: photos of 20 classes, of which a photo may show several.

    The labels of the official test list are not public: with a share, val is held out of train
    and the official list of val is test.

    :param split: train, val or test.
    :param root: The folder that holds ``VOCdevkit`` or ``VOC2012``, or ``VOC2012`` itself.
    :param val_share: Of the photos of the train list that are held out for val.
    :raises NoSplitError: If the split is test, and there is no share.
    :raises ValueError: If a setting is none of these, or the folder not laid out like this.
    """
    check_split(split)
    official = official_split(split, val_share)
    if official == 'test':
        raise NoSplitError(
            "split 'test': the labels of VOC2012's test list are not public. With val_share above "
            '0, 0.1 say, val is held out of train and test is the official validation list.'
        )
    found = read_voc_labels(official, root=root)
    is_train = official == 'train' and bool(val_share)
    rows = [
        i
        for i, name in enumerate(found.ids)
        if not is_train or is_held_out(name, val_share) == (split == 'val')
    ]
    if not rows:
        raise ValueError(
            f"split '{split}' holds no photo: val_share {val_share} of {len(found.ids)} photos "
            'is held out for val.'
        )
    entries = [ClipEntry(found.paths[i], number) for number, i in enumerate(rows)]
    clips = ClipIndex((), entries, [*found.missing], mirrored={})
    return MultiLabelIndex(found.classes, clips, found.flags[rows])
