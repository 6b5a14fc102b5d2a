"""Files that a command is asked to write."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile


def check_output(option: str, path: str | Path, *, overwrite: bool = True) -> None:
    """
    Check that a file can be written, before the work that it is to hold; make its folder.

    :param option: What named it, for messages.
    :param overwrite: Whether the file may exist.
    :raises ValueError: If it can't, or must not, be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{option} must name a file, '{path}' is a folder.")
    if path.exists() and not overwrite:
        raise ValueError(f"{option} '{path}' exists: name another file, or say --overwrite.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{option} '{path}' can't be written: {error.strerror}.") from error
