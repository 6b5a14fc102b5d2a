"""Parts of a picture as convex polygons in pixels, drawn back to front."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
from mtl_training.data.synthetic.poses import Array
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Image = NDArray[np.uint8]

_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates
_FAR = 2.0**18  # pixels; keeps fixed-point coordinates within 32 bits


@dataclass
class Layer:
    """One polygon over time; ``shown`` tells when it is drawn (None: always)."""

    polygons: Sequence[Array] | Array  # [T, K, 2], or T hulls of [K_t, 2]
    colour: Colour
    shown: NDArray[np.bool_] | None = None
    fixed: list[NDArray[np.int32]] = field(init=False)

    def __post_init__(self) -> None:
        scale = 1 << _SHIFT
        if isinstance(self.polygons, np.ndarray):
            self.fixed = list(_to_fixed(self.polygons, scale))
        else:
            self.fixed = [_to_fixed(polygon, scale) for polygon in self.polygons]


def _to_fixed(polygons: Array, scale: int) -> NDArray[np.int32]:
    return np.rint(np.clip(polygons, -_FAR, _FAR) * scale).astype(np.int32, order='C')


@dataclass
class Part:
    """Layers drawn together, at one depth per time (metres)."""

    depth: Array
    layers: list[Layer]


def draw(image: Image, part: Part, frame: int) -> None:
    """Draw one part at one time."""
    for layer in part.layers:
        if layer.shown is None or layer.shown[frame]:
            cv2.fillConvexPoly(image, layer.fixed[frame], layer.colour, cv2.LINE_AA, _SHIFT)


def outline(image: Image, part: Part, frame: int, number: int) -> None:
    """Write a number wherever one part is drawn at one time; ``image`` is ``[H, W]``."""
    for layer in part.layers:
        if layer.shown is None or layer.shown[frame]:
            cv2.fillConvexPoly(image, layer.fixed[frame], number, cv2.LINE_8, _SHIFT)


def bounds(parts: Iterable[Part], num_frames: int) -> Array:
    """Return the boxes (x0, y0, x1, y1) that enclose all layers, ``[T, 4]``."""
    low = np.full((num_frames, 2), np.inf)
    high = -low
    for layer in (layer for part in parts for layer in part.layers):
        if isinstance(layer.polygons, np.ndarray):
            lows, highs = layer.polygons.min(1), layer.polygons.max(1)
        else:
            lows = np.stack([polygon.min(0) for polygon in layer.polygons])
            highs = np.stack([polygon.max(0) for polygon in layer.polygons])
        shown = np.ones(num_frames, bool) if layer.shown is None else layer.shown
        low = np.where(shown[:, None], np.minimum(low, lows), low)
        high = np.where(shown[:, None], np.maximum(high, highs), high)
    return np.concatenate([low, high], axis=1)


def capsules(start: Array, end: Array, radius: Array, end_radius: Array, corners: int) -> Array:
    """
    Return the outlines of round-ended, tapered bars.

    :param start: ``[..., 2]``, pixels; ``end`` likewise.
    :param radius: At the start, ``[...]``; ``end_radius`` at the end.
    :param corners: Vertices per round end.
    :return: ``[..., 2 * corners, 2]``.
    """
    along = end - start
    angle = np.arctan2(along[..., 1], along[..., 0])[..., None]
    fan = np.linspace(-np.pi / 2, np.pi / 2, corners)
    front = end[..., None, :] + end_radius[..., None, None] * _circle(angle + fan)
    back = start[..., None, :] + radius[..., None, None] * _circle(angle + np.pi + fan)
    return np.concatenate([front, back], axis=-2)


def discs(centre: Array, radius: Array, corners: int) -> Array:
    """Return the outlines of discs, ``[..., corners, 2]``."""
    fan = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return centre[..., None, :] + radius[..., None, None] * _circle(fan)


def ellipses(centre: Array, axis: Array, radii: Array, corners: int) -> Array:
    """
    Return the outlines of ellipses.

    :param centre: ``[T, 2]``.
    :param axis: Unit vector of the first half axis, ``[T, 2]``.
    :param radii: Half axes, ``[T, 2]``.
    """
    fan = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    other = np.stack([-axis[:, 1], axis[:, 0]], axis=-1)
    first = np.cos(fan)[None, :, None] * (axis * radii[:, :1])[:, None]
    second = np.sin(fan)[None, :, None] * (other * radii[:, 1:])[:, None]
    return centre[:, None] + first + second


def hulls(points: Array) -> list[Array]:
    """Return the convex hull of the points of each time, ``[T, N, 2]``."""
    return [cv2.convexHull(frame)[:, 0].astype(np.float64) for frame in points.astype(np.float32)]


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made lighter or darker."""
    red, green, blue = (float(np.clip(channel * factor, 0, 255)) for channel in colour)
    return red, green, blue


def _circle(angles: Array) -> Array:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)
