"""What the files of a frame of Cityscapes hold: ids of classes, disparity and cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from mtl_training.data.annotations.tables import number_of
import numpy as np
from numpy.typing import NDArray


class Disparity(NamedTuple):
    """How far apart the two cameras see what a pixel shows."""

    pixels: NDArray[np.float32]  # [H, W]; 0 where not measured
    is_valid: NDArray[np.bool_]  # [H, W]


class Camera(NamedTuple):
    """A pair of cameras."""

    baseline_m: float
    fx_px: float  # focal length, for the full width of 2048


def read_labels(path: Path) -> NDArray[np.uint8]:
    """
    Read the ids of classes, ``[H, W]``; the plates of cars, -1, are 255.

    :param path: Of <frame>_gtFine_labelIds.png.
    :raises ValueError: If it is not a grey image of 8 bits.
    """
    return np.asarray(_read_png(path, np.uint8), np.uint8)


def read_disparity(path: Path) -> Disparity:
    """
    Read the disparity of a frame.

    :param path: Of <frame>_disparity.png.
    :raises ValueError: If it is not a grey image of 16 bits.
    """
    return decode_disparity(np.asarray(_read_png(path, np.uint16), np.uint16))


def decode_disparity(raw: NDArray[np.uint16]) -> Disparity:
    """
    Return what the values p of an image mean: 0 is not measured, else (p - 1) / 256 pixels.

    :param raw: ``[H, W]``.
    """
    is_valid = raw > 0
    return Disparity(
        np.where(is_valid, (raw.astype(np.float32) - 1) / 256, np.float32(0)), is_valid
    )


def resize_disparity(disparity: Disparity, size: tuple[int, int]) -> Disparity:
    """
    Return the disparity of the frame at another size, each pixel from the nearest one.

    In an image half as wide the two cameras see things half as many pixels apart.

    :param size: Height and width.
    """
    scale = size[1] / disparity.pixels.shape[1]
    pixels = cv2.resize(disparity.pixels, size[::-1], interpolation=cv2.INTER_NEAREST)
    valid = cv2.resize(
        disparity.is_valid.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST
    )
    return Disparity(np.asarray(pixels * np.float32(scale), np.float32), valid.astype(bool))


def disparity_to_depth(
    disparity: Disparity, camera: Camera, width: int = 2048
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """
    Return depth in metres, 0 where it is not known, and where it is known, each ``[H, W]``.

    A disparity of 0 that was measured is infinitely far and counts as not known.

    :param camera: Of the frame, at the full width.
    :param width: The full one.
    """
    is_known = disparity.is_valid & (disparity.pixels > 0)
    focal_px = camera.fx_px * disparity.pixels.shape[1] / width
    pixels = np.where(is_known, disparity.pixels, np.float32(1))
    depth = np.float32(camera.baseline_m * focal_px) / pixels
    return np.where(is_known, depth, np.float32(0)), is_known


def read_camera(path: Path) -> Camera:
    """
    Read the cameras of a frame.

    :param path: Of <frame>_camera.json.
    :raises ValueError: If it is not of this format.
    """
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists.")
    return parse_camera(path, path.read_text(encoding='utf-8-sig', errors='replace'))


def parse_camera(path: Path, text: str) -> Camera:
    """
    Return the cameras that a JSON text describes.

    :param path: The file, for messages.
    :raises ValueError: If it is not of this format.
    """
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    parts = content if isinstance(content, dict) else {}
    camera = Camera(
        number_of(f"'{path}': extrinsic", parts.get('extrinsic'), 'baseline'),
        number_of(f"'{path}': intrinsic", parts.get('intrinsic'), 'fx'),
    )
    if min(camera) <= 0:
        raise ValueError(f"'{path}': baseline and fx must be positive, got {tuple(camera)}.")
    return camera


def _read_png(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists.")
    # Unchanged: else 16 bits become 8.
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != dtype:
        found = 'none' if image is None else f'{image.dtype} of {image.shape}'
        raise ValueError(f"'{path}' must be a grey image of {dtype.__name__}, got {found}.")
    return np.asarray(image)
