"""Files that are whole at every moment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import secrets


def write_atomically(path: Path, data: bytes) -> None:
    """
    Write a file so that at every moment the path holds the old one or the new one, whole.

    :raises OSError: If it can't be written; the old file stays.
    """
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
    try:
        with temporary.open('xb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        # The new name is on disk only once its folder is.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
