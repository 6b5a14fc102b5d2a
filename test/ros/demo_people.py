"""Made-up people for the tests of the demo."""

from __future__ import annotations

import json
from typing import Any

from mtl_perception.msg import (
    BoundingBox,
    HumanPose,
    HumanPoseArray,
    RecognizedActivity,
    RecognizedActivityArray,
)
from mtl_perception.ros.messages import time_msg
from std_msgs.msg import Header, String

SEC = 1_000_000_000
# A standing person in a box of 1 by 1: x, y of each joint.
STANDING = (
    (0.5, 0.06), (0.55, 0.04), (0.45, 0.04), (0.6, 0.06), (0.4, 0.06), (0.7, 0.2), (0.3, 0.2),
    (0.8, 0.35), (0.2, 0.35), (0.9, 0.5), (0.1, 0.5), (0.62, 0.52), (0.38, 0.52), (0.64, 0.75),
    (0.36, 0.75), (0.65, 0.97), (0.35, 0.97),
)  # fmt: skip


def joints_in(box: tuple[float, ...], visibility: float = 2) -> list[list[float]]:
    """Return the joints of somebody who stands in a box."""
    x_min, y_min, x_max, y_max = box
    return [
        [x_min + x * (x_max - x_min), y_min + y * (y_max - y_min), visibility] for x, y in STANDING
    ]


def truth_line(
    stamp_ns: int, *people: tuple[int, tuple[float, ...], str], **fields: Any
) -> dict[str, Any]:
    """Return what the video node says of a frame; people as (number, box, activity)."""
    return {
        'stamp_ns': stamp_ns,
        'scene': 0,
        'action': None,
        'gesture': None,
        'people': [number for number, _, _ in people],
        'boxes': [list(box) for _, box, _ in people],
        'keypoints': [joints_in(box) for _, box, _ in people],
        'activities': [activity for _, _, activity in people],
        **fields,
    }


def truth_message(line: dict[str, Any]) -> String:
    """Return the line as a message."""
    return String(data=json.dumps(line))


def pose_message(
    stamp_ns: int, *people: tuple[str, tuple[float, ...], str], missing: tuple[int, ...] = ()
) -> HumanPoseArray:
    """Return what the perception node says of where people are, in pixels from the corner."""
    poses = []
    for track, box, _ in people:
        joints = joints_in(box)
        for joint in missing:
            joints[joint] = [float('nan')] * 3
        corners = [value + 0.5 for value in box]
        bounds = BoundingBox(
            x_min=corners[0], y_min=corners[1], x_max=corners[2], y_max=corners[3]
        )
        x, y = [joint[0] for joint in joints], [joint[1] for joint in joints]
        scores = [0.0 if value != value else 0.9 for value in x]
        poses.append(
            HumanPose(track_id=track, score=0.9, box=bounds, x=x, y=y, keypoint_score=scores)
        )
    return HumanPoseArray(header=Header(stamp=time_msg(stamp_ns)), poses=poses)


def activity_message(
    stamp_ns: int, *people: tuple[str, tuple[float, ...], str]
) -> RecognizedActivityArray:
    """Return what the perception node says of what people do."""
    activities = [
        RecognizedActivity(track_id=track, label=label, score=0.8) for track, _, label in people
    ]
    return RecognizedActivityArray(header=Header(stamp=time_msg(stamp_ns)), activities=activities)
