"""Random changes to a whole clip, all of its frames alike."""

from __future__ import annotations

from dataclasses import dataclass
import math
import random

import cv2
from mtl_training.data.decoding import Frame
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn.functional import interpolate

Floats = NDArray[np.float64]
LUMA = np.array([0.299, 0.587, 0.114])
# From RGB to the luma and two axes of colour of YIQ, in which a turn changes the hue alone.
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True, slots=True)
class ClipAugmentation:
    """
    Vary where a clip is cut, its light and its colours; and mirror it.

    All of it is drawn from the global generator of ``random``.

    :param scale: Smallest and largest share of the area that is kept; the window has the aspect
        ratio of what the network sees.
    :param brightness: The light is multiplied by up to 1 plus this and down to 1 minus this.
    :param contrast: Likewise the distance of every colour to the mean luma of the clip.
    :param saturation: Likewise the distance of every colour to its grey.
    :param hue: Largest turn of the hue, in turns, to either side.
    :param mirror: How often the clip is mirrored.
    :raises ValueError: If one of them is out of range.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    mirror: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f'crop_scale must be two ascending shares of the area, got {list(self.scale)}.'
            )
        for name, most in (('brightness', 1), ('contrast', 1), ('saturation', 1), ('hue', 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f'{name} must be from 0 to {most}, got {getattr(self, name)}.')
        if not 0 <= self.mirror <= 1:
            raise ValueError(f'mirror must be from 0 to 1, got {self.mirror}.')

    def __call__(
        self, frames: Frame, *, crop: tuple[int, int] | None, may_mirror: bool
    ) -> tuple[Frame, bool]:
        """
        Return another clip that shows the same, or its mirror image.

        :param frames: uint8 ``[T, H, W, 3]``.
        :param crop: Height and width of the middle of a frame, which is all that the network
            sees; ``None``: it sees all of it.
        :param may_mirror: Whether it may be mirrored.
        :return: The new frames, of the same size, and whether they are mirrored.
        """
        is_mirrored = random.random() < self.mirror and may_mirror
        window = self._window(frames.shape[1:3], crop or frames.shape[1:3])
        return self._recoloured(cut(frames, *window, is_mirrored=is_mirrored)), is_mirrored

    def _window(
        self, size: tuple[int, ...], seen: tuple[int, ...]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows and the columns, from and to, that become the frame."""
        area = random.uniform(*self.scale)
        largest = min(size[0] / seen[0], size[1] / seen[1])
        ranges = []
        for length, visible in zip(size, seen):
            # What is seen shrinks to `kept` pixels somewhere in the frame; the rest follows.
            zoom = largest * math.sqrt(area)
            kept = max(1.0, visible * zoom)
            middle = kept / 2 + random.random() * (length - kept)
            half = max(1, round(length * kept / visible)) / 2
            first = math.floor(middle - half + 0.5)
            ranges.append((first, first + round(2 * half)))
        return ranges[0], ranges[1]

    def _recoloured(self, frames: Frame) -> Frame:
        flat = frames.reshape(len(frames), -1, 3)
        matrix = colour_matrix(
            brightness=_factor(self.brightness),
            contrast=_factor(self.contrast),
            saturation=_factor(self.saturation),
            hue=random.uniform(-self.hue, self.hue),
            # Not numpy's mean, which takes longer than all the rest.
            mean=float(np.array(cv2.mean(flat)[:3]) @ LUMA),
        )
        return cv2.transform(flat, matrix).reshape(frames.shape)  # type: ignore[return-value]


def cut(
    frames: Frame, rows: tuple[int, int], columns: tuple[int, int], *, is_mirrored: bool
) -> Frame:
    """
    Return a window of a clip at the size of the clip; beyond its borders they are repeated.

    :param frames: uint8 ``[T, H, W, 3]``.
    :param rows: The first one and the one after the last.
    """
    height, width = frames.shape[1:3]
    window = _window_of(frames, rows, columns)
    if window.shape != frames.shape:
        images = torch.from_numpy(window).permute(0, 3, 1, 2)
        resized = interpolate(images, (height, width), mode='bilinear', antialias=True)
        window = resized.permute(0, 2, 3, 1).numpy()
    window = np.ascontiguousarray(window)
    if not is_mirrored:
        return window
    return cv2.flip(window.reshape(-1, width, 3), 1).reshape(frames.shape)  # type: ignore[return-value]


def _window_of(frames: Frame, rows: tuple[int, int], columns: tuple[int, int]) -> Frame:
    height, width = frames.shape[1:3]
    top, bottom = max(rows[0], 0), min(rows[1], height)
    left, right = max(columns[0], 0), min(columns[1], width)
    inside = frames[:, top:bottom, left:right]
    shape = (len(frames), rows[1] - rows[0], columns[1] - columns[0], 3)
    if inside.shape == shape:
        return inside
    window = np.empty(shape, np.uint8)
    top, bottom, left, right = (
        top - rows[0],
        bottom - rows[0],
        left - columns[0],
        right - columns[0],
    )
    window[:, top:bottom, left:right] = inside
    window[:, top:bottom, :left] = inside[:, :, :1]
    window[:, top:bottom, right:] = inside[:, :, -1:]
    window[:, :top] = window[:, top : top + 1]
    window[:, bottom:] = window[:, bottom - 1 : bottom]
    return window


def colour_matrix(
    *, brightness: float, contrast: float, saturation: float, hue: float, mean: float
) -> Floats:
    """
    Return all changes of colour as one affine map.

    :param hue: In turns.
    :param mean: Luma that contrast leaves as it is.
    :return: ``[3, 4]``: RGB' = matrix @ (RGB, 1).
    """
    turn = 2 * math.pi * hue
    turned = np.eye(3)
    turned[1:, 1:] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    turned[1:, 1:] *= saturation
    colours = np.linalg.inv(_YIQ) @ turned @ _YIQ * contrast * brightness
    offset = mean * (1 - contrast) * brightness
    return np.column_stack([colours, np.full(3, offset)])


def _factor(strength: float) -> float:
    return random.uniform(1 - strength, 1 + strength)
