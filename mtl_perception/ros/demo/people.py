"""Who is there and who was heard of, frame by frame, paired by the stamps of the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import json
from typing import Any

from mtl_perception.runtime.drawing import PersonView
import numpy as np
from numpy.typing import NDArray

# Nothing of a frame is asked for later than this.
_KEPT_NS = 30_000_000_000
# Activities of a frame by track, with their scores.
Activities = Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class TrueFrame:
    """The people who are in a picture; places are pixels, (0, 0) the centre of the first."""

    stamp_ns: int
    scene: int
    is_of_activities: bool  # the scene shows activities, neither an action nor a gesture
    people: tuple[int, ...]  # the same number is the same person, throughout the scene
    boxes: NDArray[np.float32]  # [P, 4], xyxy
    keypoints: NDArray[np.float32]  # [P, 17, 3] as (x, y, 0 outside, 1 hidden, 2 visible)
    activities: tuple[str, ...]

    @classmethod
    def from_json(cls, text: str) -> TrueFrame:
        """Read what the video node says of a frame."""
        line = json.loads(text)
        return cls(
            stamp_ns=line['stamp_ns'],
            scene=line['scene'],
            is_of_activities=line['action'] is None and line['gesture'] is None,
            people=tuple(line['people']),
            boxes=np.array(line['boxes'], np.float32).reshape(-1, 4),
            keypoints=np.array(line['keypoints'], np.float32).reshape(-1, 17, 3),
            activities=tuple(line['activities']),
        )


@dataclass(frozen=True)
class HeardFrame:
    """The people whom the perception node found in a frame."""

    stamp_ns: int
    people: tuple[PersonView, ...]

    def boxes(self) -> NDArray[np.float32]:
        """Return their boxes, ``[N, 4]``."""
        return np.array([person.box for person in self.people], np.float32).reshape(-1, 4)

    def keypoints(self) -> NDArray[np.float32]:
        """Return their joints, ``[N, 17, 2]``."""
        joints = np.array([person.keypoints for person in self.people], np.float32)
        return joints.reshape(-1, 17, 2)


@dataclass
class FramePairs:
    """
    Frames as they are and as they were heard of, until they are taken or too old.

    :param has_activities: A frame with people is heard in full once their activities have come.
    """

    has_activities: bool
    truths: dict[int, TrueFrame] = field(default_factory=dict)
    _people: dict[int, tuple[PersonView, ...]] = field(default_factory=dict)
    _activities: dict[int, Activities] = field(default_factory=dict)

    def add_truth(self, truth: TrueFrame) -> None:
        """Note who is in a frame."""
        self.truths[truth.stamp_ns] = truth
        self._forget(truth.stamp_ns - _KEPT_NS)

    def add_poses(self, stamp_ns: int, people: tuple[PersonView, ...]) -> None:
        """Note who was found in a frame."""
        self._people[stamp_ns] = people
        self._forget(stamp_ns - _KEPT_NS)

    def add_activities(self, stamp_ns: int, activities: Activities) -> None:
        """Note what the people found in a frame do."""
        self._activities[stamp_ns] = activities

    def heard(self, stamp_ns: int) -> HeardFrame | None:
        """Return what was heard of a frame; ``None`` before it was heard in full."""
        people = self._people.get(stamp_ns)
        if people is None:
            return None
        if people and self.has_activities and stamp_ns not in self._activities:
            return None
        activities = self._activities.get(stamp_ns, {})
        named = []
        for person in people:
            label, score = activities.get(person.track_id, ('', 0.0))
            named.append(replace(person, activity=label, activity_score=score))
        return HeardFrame(stamp_ns, tuple(named))

    def is_answered(self, stamp_ns: int) -> bool:
        """Return whether nothing more will be heard of a frame: it was, or a later one was."""
        return any(heard >= stamp_ns and self.heard(heard) for heard in reversed(self._people))

    def newest(self, stamp_ns: int, max_age_ns: int) -> HeardFrame | None:
        """Return what was heard of a frame, or of the newest one before it, if recent enough."""
        within = [s for s in self._people if stamp_ns - max_age_ns <= s <= stamp_ns]
        frames = (self.heard(stamp) for stamp in sorted(within, reverse=True))
        return next((frame for frame in frames if frame is not None), None)

    def between(self, start_ns: int, end_ns: int) -> list[tuple[TrueFrame, HeardFrame | None]]:
        """Return the frames of known truth from a stamp to another, in their order."""
        stamps = sorted(stamp for stamp in self.truths if start_ns <= stamp <= end_ns)
        return [(self.truths[stamp], self.heard(stamp)) for stamp in stamps]

    def _forget(self, before_ns: int) -> None:
        kept: tuple[dict[int, Any], ...] = (self.truths, self._people, self._activities)
        for frames in kept:
            for stamp in [stamp for stamp in frames if stamp < before_ns]:
                del frames[stamp]


def people_of(message: Any) -> tuple[PersonView, ...]:
    """
    Return the people of a ``HumanPoseArray``.

    Its boxes count from the corner of the first pixel, its joints from the pixel's centre.
    """
    return tuple(
        PersonView(
            track_id=pose.track_id,
            box=np.array([pose.box.x_min, pose.box.y_min, pose.box.x_max, pose.box.y_max]) - 0.5,
            keypoints=np.stack([pose.x, pose.y], axis=1),
        )
        for pose in message.poses
    )


def activities_of(message: Any) -> Activities:
    """Return the activities of a ``RecognizedActivityArray``."""
    return {item.track_id: (item.label, item.score) for item in message.activities}
