"""Cityscapes at 128 x 256 as arrays, as MTAN (Liu et al., CVPR 2019) released it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mtl_training.data.annotations.arrays import load_array
from mtl_training.data.annotations.cityscapes_classes import IGNORED
from mtl_training.data.video_sets.lists import find_folder, names_in
from mtl_training.data.videos.index import check_split
import numpy as np
from numpy.typing import NDArray

PARTS = ('image', 'label', 'depth')
LAYOUT = '<root>/<train|val>/<image|label|depth>/<number>.npy'


class MtanFrames(NamedTuple):
    """The frames of a split."""

    folder: Path  # of the split
    numbers: tuple[int, ...]  # rising; of the frames that have all three arrays
    missing: tuple[Path, ...]


class MtanFrame(NamedTuple):
    """One frame."""

    image: NDArray[np.float32]  # [H, W, 3], RGB in [0, 1]
    labels: NDArray[np.uint8]  # [H, W], of the release's classes; 255 ignored
    disparity: NDArray[np.float32]  # [H, W], raw 16-bit values over 65,536; 0 where not measured
    is_valid: NDArray[np.bool_]  # [H, W], where disparity was measured


def list_mtan(split: str, *, root: str) -> MtanFrames:
    """
    List the frames of a split.

    Which frame of Cityscapes has which number is not known and differs between copies.

    :param split: train or val: 2,975 and 500 frames; what others call its test is val.
    :param root: The folder that holds train and val, as cityscapes2.
    :raises ValueError: If no frame with all three arrays is there.
    """
    check_split(split, ('train', 'val'))
    folder = find_folder(root, split, layout=LAYOUT)
    found = [
        {n for name in names_in(folder / part) if (n := _number(name)) >= 0} for part in PARTS
    ]
    everywhere, anywhere = set.intersection(*found), set.union(*found)
    if not everywhere:
        raise ValueError(f"'{folder}' holds no frame of {PARTS}; the layout is {LAYOUT}.")
    missing = [
        folder / part / f'{number}.npy'
        for number in sorted(anywhere - everywhere)
        for part, numbers in zip(PARTS, found)
        if number not in numbers
    ]
    return MtanFrames(folder, tuple(sorted(everywhere)), tuple(missing))


def read_mtan(frames: MtanFrames, number: int) -> MtanFrame:
    """
    Read a frame.

    :param number: One of ``frames.numbers``.
    :raises ValueError: If an array is not of this format.
    """
    paths = [frames.folder / part / f'{number}.npy' for part in PARTS]
    image, labels, disparity = map(_load, paths)
    disparity = disparity[..., 0] if disparity.ndim == 3 else disparity
    size = image.shape[:2]
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"'{paths[0]}' must be of (H, W, 3), got {image.shape}.")
    for path, array in zip(paths[1:], (labels, disparity)):
        if array.shape != size:
            raise ValueError(
                f"'{path}' must have the size of the image, {size}, got {array.shape}."
            )
    in_range = (labels >= -1) & (labels < IGNORED)  # False for NaN
    if not in_range.all() or (labels % 1 != 0).any():
        raise ValueError(
            f"'{paths[1]}' must hold whole numbers from -1 to 254, got {labels.min()} to "
            f'{labels.max()}.'
        )
    return MtanFrame(
        image=image.astype(np.float32),
        labels=np.where(labels < 0, IGNORED, labels).astype(np.uint8),
        disparity=disparity.astype(np.float32),
        is_valid=disparity > 0,
    )


def _number(name: str) -> int:
    stem, _, suffix = name.rpartition('.')
    is_number = suffix == 'npy' and stem.isascii() and stem.isdecimal() and len(stem) < 9
    # A number with zeros before it is not how the release names files.
    return int(stem) if is_number and str(int(stem)) == stem else -1


def _load(path: Path) -> NDArray[Any]:
    try:
        array = load_array(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}' is not an array of numbers: {error}.") from error
    if array.dtype.kind not in 'fiu' or not array.size:
        raise ValueError(f"'{path}' is not an array of numbers.")
    return array
