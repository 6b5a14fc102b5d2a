"""Rendered clips on disk: one ``.npy`` file per data set, complete or absent."""

from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from contextlib import contextmanager
import fcntl
import multiprocessing
from multiprocessing.connection import wait
import os
from pathlib import Path
import sys
import threading
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray
from rich.console import Console
from rich.progress import track

_CLIPS_PER_JOB = 16


class RenderableClips(Protocol):
    """What the cache needs of a data set; it travels to other processes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all frames, clips first."""

    def render(self, index: int) -> NDArray[Any]:
        """Return the frames of one clip, or its truth."""


def load_or_render(
    folder: Path, name: str, clips: RenderableClips, workers: int, dtype: DTypeLike = np.uint8
) -> NDArray[Any]:
    """
    Return all frames as a read-only memory map, rendered first where the file is not whole.

    Several processes may ask for the same file: one renders it, the others wait. A writer that
    is killed leaves at most a temporary file, which the next one removes.

    :param folder: Created where missing.
    :param name: Must name everything that the frames depend on.
    :param workers: Processes that render; 0 renders in this one.
    :param dtype: Of what is rendered.
    :raises OSError: If there is no room for the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.npy'
    with _lock(folder / f'.{name}.lock'):
        if not _is_whole(path, clips.shape, dtype):
            partial = folder / f'.{name}.partial.npy'
            partial.unlink(missing_ok=True)
            _render_all(partial, name, clips, workers, dtype)
            with partial.open('rb+') as file:
                os.fsync(file.fileno())
            partial.replace(path)
    return np.load(path, mmap_mode='r')  # type: ignore[no-any-return]


def _is_whole(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Tell whether a file holds all frames: numpy refuses one that is shorter than it says."""
    try:
        frames = np.load(path, mmap_mode='r')
    except (OSError, ValueError, EOFError):
        return False
    return bool(frames.shape == shape and frames.dtype == dtype)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system when the process ends
        yield


def _render_all(
    path: Path, name: str, clips: RenderableClips, workers: int, dtype: DTypeLike
) -> None:
    frames = open_memmap(path, mode='w+', dtype=np.dtype(dtype), shape=clips.shape)
    frames.flush()
    _reserve(path)
    count = clips.shape[0]
    jobs = [range(first, min(first + _CLIPS_PER_JOB, count))
            for first in range(0, count, _CLIPS_PER_JOB)]  # fmt: skip
    console = Console(file=sys.stderr)
    if workers == 0:
        for job in track(jobs, f'Rendering {name}', console=console, transient=True):
            _render_job(path, clips, job)
        return
    # Forked children may hang in libraries that hold threads or locks: start clean ones.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        futures = [pool.submit(_render_job, path, clips, job) for job in jobs]
        done = as_completed(futures)
        for future in track(done, f'Rendering {name}', len(jobs), console=console, transient=True):
            future.result()


def _reserve(path: Path) -> None:
    # The file is sparse: on a full disk, writing to its memory map would kill the process.
    size = path.stat().st_size
    try:
        with path.open('rb+') as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink()
        reason = f'{error.strerror}, {size / 1e6:.0f} MB of rendered clips need it'
        raise OSError(error.errno, reason, str(path.parent)) from error


def _render_job(path: Path, clips: RenderableClips, indices: Iterable[int]) -> None:
    frames = np.load(path, mmap_mode='r+')
    for index in indices:
        frames[index] = clips.render(index)
    frames.flush()


def _start_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
