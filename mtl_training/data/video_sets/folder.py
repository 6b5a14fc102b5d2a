"""The user's own videos: a folder per split, a folder per class, a file per clip."""

from __future__ import annotations

import os
from pathlib import Path

from mtl_training.data.videos.index import (
    check_split,
    ClipEntry,
    ClipIndex,
    NoSplitError,
    SPLITS,
)
from mtl_training.data.videos.pictures import is_picture

SUFFIXES = (
    *('.3gp', '.avi', '.flv', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv'),
    *('.ts', '.webm', '.wmv'),
)
LAYOUT = (
    f'<root>/<train|val|test>/<class>/<video>, a video being one of {", ".join(SUFFIXES)} or a '
    'folder of numbered pictures'
)


def folder(split: str, *, root: str) -> ClipIndex:
    """
    Your own videos: ``<root>/<train|val|test>/<class>/*.mp4``, or folders of pictures.

    The videos may be mp4, avi, mkv, webm, mov, gif or of another common kind; a clip may as well
    be a folder of pictures (jpg, png) with numbers in their names. Clips are never mirrored:
    nobody says what the mirror image of a class is.

    :param split: train, val or test.
    :param root: The folder that holds the splits.
    :raises NoSplitError: If there is no folder of this split.
    :raises ValueError: If the folder does not have this layout.
    """
    check_split(split)
    where = Path(root).expanduser()
    labels = _classes(where)
    entries, unused = _entries(where, split, labels)
    return ClipIndex(labels, entries, mirrored=None, unused=unused)


def _classes(where: Path) -> tuple[str, ...]:
    # Those of all splits together, so that a label means the same in each of them.
    found = {
        path.name
        for split in SPLITS
        if (where / split).is_dir()
        for path in (where / split).iterdir()
        if path.is_dir() and not path.name.startswith('.')
    }
    if not where.is_dir():
        raise ValueError(
            f"'{where}' is not a folder that exists, seen from '{Path.cwd()}'; "
            f'the layout is {LAYOUT}.'
        )
    if not found:
        raise ValueError(f"'{where}' holds no classes; the layout is {LAYOUT}.")
    return tuple(sorted(found))


def _entries(
    where: Path, split: str, labels: tuple[str, ...]
) -> tuple[list[ClipEntry], list[str]]:
    if not (where / split).is_dir():
        raise NoSplitError(f"'{where}' has no folder '{split}'; the layout is {LAYOUT}.")
    found, unused = [], []
    for label, name in enumerate(labels):
        if (where / split / name).is_dir():
            clips, others = _clips(where / split / name)
            found += [ClipEntry(path, label) for path in clips]
            unused += [f'{split}/{name}/{other}' for other in others]
    if not found:
        raise ValueError(f"'{where / split}' holds no video; the layout is {LAYOUT}.")
    return found, unused


def _clips(where: Path) -> tuple[list[Path], list[str]]:
    """Return the clips of a class, and the names of what else is there."""
    with os.scandir(where) as entries:
        is_clip = {e.name: _is_clip(e) for e in entries if not e.name.startswith('.')}
    names = sorted(is_clip)
    return [where / n for n in names if is_clip[n]], [n for n in names if not is_clip[n]]


def _is_clip(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir():
        return os.path.splitext(entry.name)[1].lower() in SUFFIXES
    with os.scandir(entry.path) as pictures:
        return any(is_picture(picture.name) for picture in pictures)
