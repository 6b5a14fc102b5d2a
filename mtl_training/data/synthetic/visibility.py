"""Which keypoints can be seen."""

from mtl_training.data.synthetic.figure import Figure
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import Part
import numpy as np
from numpy.typing import NDArray

OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2

# A joint lies inside the limb it belongs to; only what is this much nearer hides it, metres.
_CLEARANCE = 0.09
_FACE = 5  # the first keypoints lie on the head's surface
_FACE_CLEARANCE = 0.015
_HEAD_BAR = -1


def keypoint_visibility(
    pixels: Array,
    depths: Array,
    figures: list[Figure],
    screens: list[Part],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """
    Judge every keypoint by depth against all bodies, seats and what stands in front.

    :param pixels: ``[T, P, 17, 2]``; ``depths`` in metres, ``[T, P, 17]``.
    :param figures: The people, P of them.
    :param screens: What else can hide somebody: parts that consist of quadrilaterals.
    :param size: Height and width of the image, pixels.
    :return: COCO visibility 0, 1 or 2, ``[T, P, 17]``.
    """
    hidden = np.zeros(depths.shape, bool)
    for owner, figure in enumerate(figures):
        hidden |= _hidden_by(figure, pixels, depths, owner)
    for part in screens:
        nearer = depths - part.depth[:, None, None] > _CLEARANCE
        if nearer.any():
            hidden |= nearer & _covered(part, pixels)
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)
    return np.where(inside, np.where(hidden, HIDDEN, VISIBLE), OUTSIDE).astype(np.float64)


def _covered(part: Part, pixels: Array) -> NDArray[np.bool_]:
    """Tell which points lie within the quadrilaterals of a part."""
    faces = np.stack([np.asarray(layer.polygons) for layer in part.layers])
    shown = np.stack(
        [np.ones(len(pixels), bool) if la.shown is None else la.shown for la in part.layers]
    )
    edges = np.roll(faces, -1, axis=2) - faces  # [layers, T, 4, 2]
    # The last axis becomes the four edges: a point inside lies on the same side of all.
    offset = pixels[..., None, :] - faces[:, :, None, None]
    edges = edges[:, :, None, None]
    side = edges[..., 0] * offset[..., 1] - edges[..., 1] * offset[..., 0]
    inside = (side >= 0).all(-1) | (side <= 0).all(-1)
    return np.any(inside & shown[:, :, None, None], axis=0)  # type: ignore[no-any-return]


def _hidden_by(figure: Figure, pixels: Array, depths: Array, owner: int) -> NDArray[np.bool_]:
    start, along = figure.bar_starts, figure.bar_ends - figure.bar_starts
    offset = pixels[..., None, :] - start[:, None, None]  # [T, P, 17, bars, 2]
    length = np.maximum((along**2).sum(-1), 1e-9)[:, None, None]
    share = np.clip((offset * along[:, None, None]).sum(-1) / length, 0, 1)
    gap = offset - share[..., None] * along[:, None, None]
    near = (gap**2).sum(-1) < figure.bar_radii[:, None, None] ** 2
    first, last = figure.bar_depths[..., 0], figure.bar_depths[..., 1]
    depth = first[:, None, None] + share * (last - first)[:, None, None]
    behind = depths[..., None] - depth
    clearance = np.full(behind.shape[1:], _CLEARANCE)
    clearance[owner, :_FACE, _HEAD_BAR] = _FACE_CLEARANCE
    return (near & (behind > clearance)).any(-1)
