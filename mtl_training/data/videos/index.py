"""What a data set of videos lists: which clips there are, and what each shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

SPLITS = ('train', 'val', 'test')


class NoSplitError(ValueError):
    """A data set is there, and this split is none that it has."""


class ClipEntry(NamedTuple):
    """One labelled clip: a video file, a folder of numbered pictures, or a part of either."""

    path: Path
    label: int
    # First frame and the one after the last, counted from 0; None: all of it.
    frames: tuple[int, int] | None = None
    # Clips of one source (scene, person, recording) that must not be divided between splits.
    group: str = ''


@dataclass(frozen=True, slots=True)
class ClipIndex:
    """
    The clips of one split of a data set, before any of them is opened.

    :param labels: Names of the classes, in the order of the data set's own numbers; none where
        the label of an entry is its own number in the list of what is shown, as of captions.
    :param entries: In the order of the data set's own lists.
    :param missing: What its lists name and the disk lacks.
    :param unused: What lies where clips do and is none.
    :param mirrored: The class that the mirror image of a clip shows, for every class whose name
        changes (swipes to the left and to the right); ``None`` where clips must not be mirrored
        at all.
    :param rate_hz: Frames a second of folders of pictures, which do not tell.
    """

    labels: tuple[str, ...]
    entries: list[ClipEntry]
    missing: list[str] = field(default_factory=list)
    mirrored: Mapping[str, str] | None = None
    rate_hz: float = 30.0
    unused: list[str] = field(default_factory=list)

    def counts(self) -> list[int]:
        """Return the number of clips of each class."""
        counts = [0] * len(self.labels)
        for entry in self.entries:
            counts[entry.label] += 1
        return counts


def check_split(split: str, known: Sequence[str] = SPLITS) -> None:
    """
    Check the name of a split.

    :raises ValueError: If it is none of them.
    """
    if split not in known:
        raise ValueError(f'split must be one of {tuple(known)}, got {split!r}.')


def is_held_out(group: str, share: float) -> bool:
    """
    Tell whether a group belongs to the validation split, where a data set has none of its own.

    A function of the group's name alone, so that it does not depend on what else is there.

    :param share: Of all groups, from 0 to 1, that are held out.
    """
    return crc32(group.encode()) / 2**32 < share


def held_out(entries: Sequence[ClipEntry], split: str, share: float) -> list[ClipEntry]:
    """
    Return the part of a training list that trains, or the part that validates.

    Whole groups are held out: clips of one source are alike, and a network that has seen some of
    them would be judged on what it knows by heart.

    :param split: train or val.
    :param share: Of all groups that are held out for val.
    :raises ValueError: If nothing is left.
    """
    if not 0 <= share < 1:
        raise ValueError(f'val_share must be at least 0 and less than 1, got {share}.')
    chosen = [e for e in entries if is_held_out(e.group, share) == (split == 'val')]
    if not chosen:
        raise ValueError(
            f"split '{split}' holds no clip: val_share {share} of the groups of {len(entries)} "
            'clips is held out for val.'
        )
    return chosen
