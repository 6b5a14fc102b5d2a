"""Which keypoints can be seen."""

import cv2
from mtl_training.data.synthetic.figure import Figure
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import Layer
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
    occluders: list[list[Layer]],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """
    Judge every keypoint by depth against all bodies, and against what stands in front.

    :param pixels: ``[T, P, 17, 2]``; ``depths`` in metres, ``[T, P, 17]``.
    :param figures: The people, P of them.
    :param occluders: Layers over time; the first of each is its outline.
    :param size: Height and width of the image, pixels.
    :return: COCO visibility 0, 1 or 2, ``[T, P, 17]``.
    """
    hidden = np.zeros(depths.shape, bool)
    for owner, figure in enumerate(figures):
        hidden |= _hidden_by(figure, pixels, depths, owner)
    for layers in occluders:
        for t, outline in enumerate(np.asarray(layers[0].polygons, np.float32)):
            points = pixels[t].reshape(-1, 2).astype(np.float32)
            inside = [
                cv2.pointPolygonTest(outline, point, False) >= 0 for point in points.tolist()
            ]
            hidden[t] |= np.reshape(inside, hidden[t].shape)
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1)
    return np.where(inside, np.where(hidden, HIDDEN, VISIBLE), OUTSIDE).astype(np.float64)


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
