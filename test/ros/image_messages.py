"""Image messages of every encoding, made by hand from RGB pixels."""

from __future__ import annotations

import array
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import Image

SECOND = 1_000_000_000


def _yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y, and U and V of every other column (ITU-R BT.601, studio range)."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.clip(p.round(), 0, 255).astype(np.uint8) for p in (y, u, v))


def _uyvy(rgb: np.ndarray) -> np.ndarray:
    y, u, v = _yuv(rgb)
    packed = np.empty((*rgb.shape[:2], 2), np.uint8)
    packed[..., 1] = y
    packed[:, 0::2, 0], packed[:, 1::2, 0] = u[:, 0::2], v[:, 0::2]
    return packed


def _nv12(rgb: np.ndarray) -> np.ndarray:
    y, u, v = _yuv(rgb)
    colours = np.empty((rgb.shape[0] // 2, rgb.shape[1]), np.uint8)
    colours[:, 0::2], colours[:, 1::2] = u[0::2, 0::2], v[0::2, 0::2]
    return np.concatenate([y, colours])[..., None]


def _bayer(pattern: str) -> Callable[[np.ndarray], np.ndarray]:
    def encode(rgb: np.ndarray) -> np.ndarray:
        mosaic = np.empty((*rgb.shape[:2], 1), np.uint8)
        for index, colour in enumerate(pattern):
            row, column = divmod(index, 2)
            mosaic[row::2, column::2, 0] = rgb[row::2, column::2, 'rgb'.index(colour)]
        return mosaic

    return encode


def _wide(encode: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def widen(rgb: np.ndarray) -> np.ndarray:
        """Put a value that must not be seen into the low byte."""
        values = encode(rgb)
        return np.stack([np.full_like(values, 99), values], axis=-1).reshape(*rgb.shape[:2], -1)

    return widen


def _grey(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., :1]


def _rgb(rgb: np.ndarray) -> np.ndarray:
    return rgb


def _bgr(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., ::-1]


def _with_alpha(encode: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rgb: np.concatenate([encode(rgb), rgb[..., :1] // 3], axis=-1)


# From RGB pixels [H, W, 3] to the bytes of each row [rows, W, bytes per pixel].
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'rgb8': _rgb,
    'bgr8': _bgr,
    'rgba8': _with_alpha(_rgb),
    'bgra8': _with_alpha(_bgr),
    '8UC3': _bgr,
    '8UC4': _with_alpha(_bgr),
    'rgb16': _wide(_rgb),
    'bgr16': _wide(_bgr),
    'rgba16': _wide(_with_alpha(_rgb)),
    'bgra16': _wide(_with_alpha(_bgr)),
}
GREY = {'mono8': _grey, '8UC1': _grey, 'mono16': _wide(_grey)}
SMOOTH = {  # share colours between neighbours: exact to a few levels where colours are smooth
    'yuv422': _uyvy,
    'uyvy': _uyvy,
    'yuv422_yuy2': lambda rgb: _uyvy(rgb)[..., ::-1],
    'yuyv': lambda rgb: _uyvy(rgb)[..., ::-1],
    'nv12': _nv12,
    **{f'bayer_{p}8': _bayer(p) for p in ('rggb', 'bggr', 'gbrg', 'grbg')},
}
ENCODERS = {**EXACT, **GREY, **SMOOTH}


def image_msg(
    rgb: np.ndarray,
    encoding: str = 'rgb8',
    *,
    stamp_ns: int = SECOND,
    padding: int = 0,
    frame_id: str = 'camera',
) -> Image:
    """Return RGB pixels as a message, each row followed by bytes that mean nothing."""
    values = ENCODERS[encoding](rgb)
    rows = values.reshape(len(values), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    message.step = padded.shape[1]
    message.data = array.array('B', padded.tobytes())
    return message


def random_rgb(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Return noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def random_grey(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Return noise without colour."""
    return np.repeat(random_rgb(height, width, seed)[..., :1], 3, axis=-1)


def smooth_rgb(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Return a gradient of colours that neighbours share."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [80 + rows + seed, 60 + columns, 200 - rows - columns // 2]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
