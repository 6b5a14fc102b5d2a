"""Who of those heard of is who of those who are there; the rule is that of people_scoring."""

from __future__ import annotations

from mtl_perception.ros.demo.people import HeardFrame, TrueFrame
import numpy as np
from numpy.typing import NDArray

MIN_IOU = 0.5
FEWEST_INSIDE, FEWEST_VISIBLE = 9, 5  # joints, of 17
OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2  # what the truth says of joints


def counts(truth: TrueFrame) -> NDArray[np.bool_]:
    """Return who of the people in the picture counts, ``[P]``."""
    visibility = truth.keypoints[..., 2]
    is_inside = (visibility > OUTSIDE).sum(-1) >= FEWEST_INSIDE
    is_seen = (visibility == VISIBLE).sum(-1) >= FEWEST_VISIBLE
    return np.asarray(is_inside & is_seen)


def match_people(truth: TrueFrame, heard: HeardFrame) -> dict[int, int]:
    """Return the row in ``heard`` of each row of ``truth`` that counts and was found."""
    overlaps = _intersections(truth, heard) / np.maximum(_unions(truth, heard), 1e-9)
    overlaps[~counts(truth)] = 0
    matches: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind='stable'):
        true, found = divmod(int(flat), overlaps.shape[1])
        if overlaps[true, found] < MIN_IOU:
            break
        if true not in matches and found not in matches.values():
            matches[true] = found
    return matches


def num_false(truth: TrueFrame, heard: HeardFrame, matches: dict[int, int]) -> int:
    """Return how many were heard of who are nobody."""
    shared = _intersections(truth, heard)
    own = np.maximum(areas_of(heard.boxes()), 1e-9)
    is_near = (shared >= MIN_IOU * _unions(truth, heard)) | (shared >= 0.5 * own)
    is_nobody = ~(is_near & ~counts(truth)[:, None]).any(0)
    return len(set(np.flatnonzero(is_nobody).tolist()) - set(matches.values()))


def areas_of(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the areas of boxes, ``[P, 4]``."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def _intersections(truth: TrueFrame, heard: HeardFrame) -> NDArray[np.float32]:
    """Return the shared area of each true with each heard person, ``[P, N]``."""
    true, found = truth.boxes[:, None], heard.boxes()[None]
    low, high = (
        np.maximum(true[..., :2], found[..., :2]),
        np.minimum(true[..., 2:], found[..., 2:]),
    )
    return np.asarray(np.maximum(high - low, 0).prod(-1))


def _unions(truth: TrueFrame, heard: HeardFrame) -> NDArray[np.float32]:
    own = areas_of(truth.boxes)[:, None] + areas_of(heard.boxes())
    return np.asarray(own - _intersections(truth, heard))
