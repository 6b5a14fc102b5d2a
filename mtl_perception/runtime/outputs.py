"""What the network said of one moment, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
from mtl_perception.runtime.segment_outputs import SegmentKey
import numpy as np


@dataclass(frozen=True)
class FoundPeople:
    """The people in one frame, best first; places are pixels of the network's input."""

    boxes: np.ndarray  # [N, 4], xyxy
    box_scores: np.ndarray  # [N]
    keypoints: np.ndarray  # [N, 17, 3]: x, y, score; NaN, NaN, 0 for a joint that was not found
    pose_scores: np.ndarray  # [N]
    is_finite: bool = (
        True  # whether all outputs they were found in are; else nothing is to be said
    )


@dataclass(frozen=True)
class Outputs:
    """What the network says of one moment."""

    # Of each clip task [C + 1]: the probabilities of its labels and, last, of nothing; of one of
    # captions [E]: a unit vector.
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    # Of tasks on windows of features: see segment_scores().
    segments: dict[SegmentKey, np.ndarray] = field(default_factory=dict)
    are_features_finite: bool = True  # those of the clips
    people: FoundPeople | None = None  # None where no frame was given
    branch_sec: dict[str, float] = field(default_factory=dict)  # of 'clip', 'memory', 'frame'


def found_people(
    boxes: np.ndarray,
    box_scores: np.ndarray,
    keypoints: np.ndarray,
    pose_scores: np.ndarray,
    is_finite: np.ndarray,
) -> FoundPeople:
    """Return people without the padding, from what the network returns, laid out flat."""
    is_found = box_scores > 0
    return FoundPeople(
        boxes=boxes.reshape(-1, 4)[is_found],
        box_scores=box_scores[is_found],
        keypoints=keypoints.reshape(-1, NUM_KEYPOINTS, 3)[is_found],
        pose_scores=pose_scores[is_found],
        is_finite=bool(is_finite[0]),
    )
