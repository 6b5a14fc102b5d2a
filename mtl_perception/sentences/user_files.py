"""Files and folders of users: where they lie, and reading them without being kept waiting."""

from __future__ import annotations

import os
from pathlib import Path
import stat


def user_path(path: str | os.PathLike[str]) -> Path:
    """
    Return a path in which ``~`` is replaced by the home that it stands for.

    :raises ValueError: If there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"'{path}' cannot be found: there is no such home folder.") from error


def user_cache() -> Path | None:
    """Return the folder for what a robot can find out again; ``None`` for a user without home."""
    try:
        return user_path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'mtl_perception'
    except ValueError:
        return None


def read_regular_file(path: Path, max_megabytes: float) -> bytes:
    """
    Return what is in a file.

    It is read at once, not mapped: a mapped file that somebody shortens ends the process.

    :raises ValueError: If it can't be read, is too large, or is no file, such as a pipe, which
        could keep its reader waiting for ever.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError('must be a regular file.')
        if status.st_size > max_megabytes * 1e6:
            raise ValueError(
                f'must have {max_megabytes} megabytes at most, got {status.st_size / 1e6:.0f}.'
            )
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f'cannot be read: {error.strerror}.') from error
