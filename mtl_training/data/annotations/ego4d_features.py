"""Features of videos of Ego4D that were extracted beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
import struct
from uuid import uuid4

from mtl_training.data.annotations.arrays import load_array
from mtl_training.data.annotations.ego4d_rows import FeatureSet
from mtl_training.data.annotations.tables import table_rows
from mtl_training.data.video_sets.lists import find_file, names_in
import numpy as np
from numpy.typing import NDArray
import torch

LAYOUT = '<root>/v1/<feature set>/<video_uid>.pt, with a manifest.csv beside them'
# What torch.load raises for files that are damaged or hold something else than tensors.
_LOAD_ERRORS = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    struct.error,
    TypeError,
    UnpicklingError,
    ValueError,
)


def find_features(root: str, features: FeatureSet) -> dict[str, Path]:
    """
    Return the files of features on disk by the uid of their video.

    :param root: The folder that holds v1, or v1 itself.
    :raises ValueError: If there is none.
    """
    places = (Path(root).expanduser() / place / features.name for place in ('v1', '.'))
    for folder in places:
        found = {
            name[: -len('.pt')]: folder / name
            for name in sorted(names_in(folder))
            if name.endswith('.pt') and not name.startswith('.')
        }
        if found:
            return found
    raise ValueError(f"'{root}' holds no features '{features.name}'; the layout is {LAYOUT}.")


def read_manifest(root: str, features: FeatureSet) -> dict[str, dict[str, str]]:
    """
    Return the rows of manifest.csv by the uid of their video.

    :param root: The folder that holds v1, or v1 itself.
    :raises ValueError: If it is missing, has no column video_uid, or a row does not parse.
    """
    places = (f'{place}{features.name}/manifest.csv' for place in ('v1/', ''))
    path = find_file(root, *places, layout=LAYOUT)
    return {row['video_uid'].strip(): row for _, row in table_rows(path, ('video_uid',))}


def load_features(path: Path, dim: int) -> NDArray[np.floating]:
    """
    Read a file of features as it was published.

    :param dim: Of a row.
    :return: ``[N, dim]``, float16 or float32 as in the file.
    :raises ValueError: If it holds anything else.
    """
    try:
        tensor = torch.load(path, map_location='cpu', weights_only=True)
    except _LOAD_ERRORS as error:
        raise ValueError(f"'{path}' is not a file of features: {error}.") from error
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"'{path}' must hold a tensor, got {type(tensor).__name__}.")
    is_known = tensor.dtype in (torch.float16, torch.float32)
    if not is_known or tensor.ndim != 2 or tensor.shape[1] != dim or not len(tensor):
        raise ValueError(
            f"'{path}' must hold float16 or float32 of (N, {dim}), N at least 1, got "
            f'{tensor.dtype} of {tuple(tensor.shape)}.'
        )
    return np.asarray(tensor.detach().numpy())


def open_features(source: Path, cache: Path, dim: int) -> NDArray[np.floating]:
    """
    Return the features of a video as an array on disk, of which only what is used is read.

    The array is made once, in ``<cache>/<video_uid>.npy``; from then on the published file is no
    longer needed. Where that file was exchanged, the array is made again. Any number of processes
    may do so at once, and be ended at any time.

    :param source: A file ``<video_uid>.pt``.
    :param cache: The folder of the arrays of this set of features.
    :param dim: Of a row.
    :return: ``[N, dim]``, float16 or float32 as published, read-only.
    :raises ValueError: If there is neither a file of features nor an array.
    """
    target = cache / f'{source.stem}.npy'
    if not _is_current(target, source):
        if not source.is_file():
            raise ValueError(f"'{source}' is not a file that exists; the layout is {LAYOUT}.")
        # Of before reading: features that change meanwhile are read again next time.
        modified = source.stat().st_mtime
        _store(load_features(source, dim), target, modified)
    try:
        array = load_array(target, mmap_mode='r')
    except (OSError, ValueError) as error:
        raise ValueError(f"'{target}' is damaged, delete it: {error}.") from error
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(f"'{target}' must have the shape (N, {dim}), got {array.shape}.")
    return np.asarray(array) if not isinstance(array, np.memmap) else array


def _is_current(target: Path, source: Path) -> bool:
    if not target.is_file():
        return False
    # An array bears the time of the file it was made of. Not all disks keep parts of a second.
    return not source.is_file() or int(target.stat().st_mtime) == int(source.stat().st_mtime)


def _store(array: NDArray[np.floating], target: Path, modified: float) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of this writer alone, on the same disk, so that renaming puts all of the array in its place.
    temporary = target.with_name(f'.{target.name}.{uuid4().hex}.tmp')
    try:
        with temporary.open('xb') as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.utime(temporary, (modified, modified))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
