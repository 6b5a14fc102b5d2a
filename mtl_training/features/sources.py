"""The videos that features are made of: all of a folder, or those of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
from typing import Any, NamedTuple

from mtl_training.data.video_sets.folder import SUFFIXES
from mtl_training.data.videos.index import ClipEntry, NoSplitError, SPLITS
from mtl_training.data.videos.pictures import list_pictures
from mtl_training.data.videos.registry import build_index


class Source(NamedTuple):
    """One video, and the name of its features: a relative path without a suffix."""

    name: str
    entry: ClipEntry
    rate_hz: float = 30.0  # of a folder of pictures, which does not tell

    @property
    def version(self) -> str:
        """
        Return size and time of the last change, by which a video is known again.

        :raises OSError: If it is gone.
        """
        changed = max((status.st_mtime_ns for status in self._statuses()), default=0)
        return f'{sum(status.st_size for status in self._statuses())}-{changed}'

    @property
    def num_bytes(self) -> int:
        """Return its size, 0 if it is gone."""
        try:
            return sum(status.st_size for status in self._statuses())
        except OSError:
            return 0

    def _statuses(self) -> list[os.stat_result]:
        path = self.entry.path
        return [file.stat() for file in (list_pictures(path) if path.is_dir() else [path])]


def find_videos(folder: str | Path) -> list[Source]:
    """
    Return all video files below a folder, in the order of their names; hidden ones are left out.

    :raises ValueError: If there is no folder, no video in it, or two have the same name.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(f"--videos '{folder}' is not a folder that exists.")
    entries = []
    for where, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        entries += [
            ClipEntry(Path(where, name), 0)
            for name in sorted(files)
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    if not entries:
        raise ValueError(
            f"--videos '{folder}' holds no video; known are the suffixes {', '.join(SUFFIXES)}."
        )
    return _named(entries, root)


def videos_of_dataset(
    dataset: str, settings: Mapping[str, Any], splits: Sequence[str]
) -> list[Source]:
    """
    Return the videos of a data set, each once, whatever split it is in.

    :param settings: Of what the data set lists, such as its root.
    :param splits: Which ones; none: those that there are.
    :raises ValueError: If the data set, a setting or a split is unknown, or it is not there.
    """
    entries: dict[tuple[Path, tuple[int, int] | None], ClipEntry] = {}
    rate_hz = 30.0
    for split in splits or SPLITS:
        try:
            index, rest = build_index(dataset, split, settings, f"data set '{dataset}'")
        except NoSplitError:
            if splits:
                raise
            continue
        if rest:
            raise ValueError(
                f"data set '{dataset}': {sorted(rest)} say how clips are read, not what there is: "
                'features have settings of their own.'
            )
        rate_hz = index.rate_hz
        entries |= {(entry.path, entry.frames): entry for entry in index.entries}
    if not entries:
        raise ValueError(f"data set '{dataset}' lists no video that is there.")
    paths = [os.path.abspath(entry.path) for entry in entries.values()]
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    return _named(list(entries.values()), root, rate_hz)


def _named(entries: Sequence[ClipEntry], root: Path, rate_hz: float = 30.0) -> list[Source]:
    found: dict[str, Source] = {}
    for entry in entries:
        path = Path(os.path.relpath(os.path.abspath(entry.path), os.path.abspath(root)))
        # Only what is a suffix of videos: of 'a.b' as the name of a folder nothing is cut.
        name = path.as_posix() if entry.path.is_dir() else path.with_suffix('').as_posix()
        if entry.frames is not None:
            name += f'_{entry.frames[0]}_{entry.frames[1]}'
        if name in found:
            raise ValueError(
                f"two videos would have the features '{name}.npy', '{found[name].entry.path}' and "
                f"'{entry.path}': give one another name."
            )
        found[name] = Source(name, entry, rate_hz)
    return list(found.values())
