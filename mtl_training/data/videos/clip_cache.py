"""Decoded clips on disk at the training size: read as fast as the disk is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
import fcntl
import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

from mtl_training.data.decoding import Frame
import numpy as np
from numpy.typing import NDArray

_MAGIC = b'MTLCLIP1'
_PARTIAL = '.partial'


class CachedClip(NamedTuple):
    """All frames of an entry."""

    frames: Frame  # uint8 [N, h, w, 3], read as they are needed
    times_sec: NDArray[np.float64]  # [N], ascending
    damage: str  # what did not decode; empty: nothing


class CacheFullError(Exception):
    """The cache has no room for a clip."""


class ClipCache:
    """
    A folder of decoded clips, named by what they were made of.

    A file is the frames as they are in memory, then a line of JSON with their times, its length
    and a mark: it is whole or, if its writer was killed, has no name that is looked for. Any
    number of processes may read and write.

    :param folder: Created where missing.
    :param limit: Most bytes that the folder may hold.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self._limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as counter:
            self._remove_partial()
            sizes = (path.stat().st_size for path in folder.glob('??/*.clip'))
            _write_count(counter, sum(sizes))

    def load(self, key: str) -> CachedClip | None:
        """Return a clip, or nothing if it is not there; one that is not whole is removed."""
        path = self._path(key)
        try:
            with path.open('rb') as file:
                return _read(file)
        except OSError:
            # It is not there, or can't be read now: not a reason to lose it.
            return None
        except (ValueError, KeyError, TypeError):
            with suppress(OSError), self._locked() as counter:
                size = path.stat().st_size
                path.unlink()
                _write_count(counter, _read_count(counter) - size)
            return None

    def store(
        self,
        key: str,
        frames: Iterable[tuple[float, Frame]],
        *,
        size_hint: int,
        damage: Callable[[], str],
    ) -> None:
        """
        Keep a clip, which is written frame by frame: a long one does not fit in memory.

        :param frames: Times and frames, uint8 ``[h, w, 3]``.
        :param size_hint: About how many bytes the frames have.
        :param damage: Asked when all frames are there.
        :raises CacheFullError: If there is no room.
        :raises OSError: If the file can't be written.
        """
        if (used := self._used()) + size_hint > self._limit:
            raise CacheFullError(f'it holds {used / 1e9:.3g} GB')
        file = self._new_partial()
        try:
            _write(file, frames, damage)
            self._admit(Path(file.name), key)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
        finally:
            with suppress(OSError):  # what is not written yet may have no room
                file.close()

    def _admit(self, partial: Path, key: str) -> None:
        """Give a whole file its name."""
        path = self._path(key)
        with self._locked() as counter:
            used, size = _read_count(counter), partial.stat().st_size
            if used + size > self._limit:
                raise CacheFullError(f'it holds {used / 1e9:.3g} GB')
            path.parent.mkdir(exist_ok=True)
            # Another process may have been as fast, with the same frames.
            known = path.stat().st_size if path.exists() else 0
            partial.replace(path)
            _write_count(counter, used + size - known)

    def _new_partial(self) -> BinaryIO:
        """Open a file that is locked as long as its writer lives."""
        while True:
            file = (self.folder / f'{uuid4().hex}{_PARTIAL}').open('w+b')
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process that starts may have removed it before it was locked.
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f'{key}.clip'

    def _used(self) -> int:
        with self._locked() as counter:
            return _read_count(counter)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with (self.folder / 'size').open('a+b') as counter:
            fcntl.flock(counter, fcntl.LOCK_EX)  # released by the system when the process ends
            yield counter

    def _remove_partial(self) -> None:
        for path in self.folder.glob(f'*{_PARTIAL}'):
            with suppress(OSError), path.open('rb') as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def cache_key(**parts: Any) -> str:
    """Return the name of a clip: the hash of everything that its frames depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write(
    file: BinaryIO, frames: Iterable[tuple[float, Frame]], damage: Callable[[], str]
) -> None:
    times_sec, shape = [], (0, 0, 0)
    for time_sec, frame in frames:
        times_sec.append(time_sec)
        shape = frame.shape
        file.write(np.ascontiguousarray(frame).data)
    facts = {'shape': (len(times_sec), *shape), 'times_sec': times_sec, 'damage': damage()}
    line = json.dumps(facts).encode()
    file.write(line + len(line).to_bytes(8, 'little') + _MAGIC)
    file.flush()
    os.fsync(file.fileno())


def _read(file: BinaryIO) -> CachedClip:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    end = len(mapped) - len(_MAGIC) - 8
    if end < 0 or mapped[-len(_MAGIC) :] != _MAGIC:
        raise ValueError('not whole')
    length = int.from_bytes(mapped[end : end + 8], 'little')
    facts = json.loads(mapped[end - length : end])
    shape = tuple(facts['shape'])
    if int(np.prod(shape)) != end - length or len(facts['times_sec']) != shape[0]:
        raise ValueError('not whole')
    frames = np.frombuffer(mapped, np.uint8, end - length).reshape(shape)
    return CachedClip(frames, np.array(facts['times_sec']), str(facts['damage']))


def _read_count(counter: BinaryIO) -> int:
    counter.seek(0)
    text = counter.read()
    return int(text) if text.isdigit() else 0


def _write_count(counter: BinaryIO, count: int) -> None:
    counter.truncate(0)
    counter.write(str(max(0, count)).encode())
    counter.flush()
