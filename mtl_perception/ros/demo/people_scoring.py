"""
What the demo counts of people: those who are there against those who were heard of.

The rule. Judged are the frames that the node spoke of; in a scene that it never spoke of, all
frames are, and nobody was found. A true person counts if at least 9 of the 17 joints lie in the
picture and at least 5 of them are visible. Found is who shares an IoU of at least 0.5 with a
person heard of, one to one, the highest IoU first. False is whoever was heard of and is nobody:
neither found, nor, with an IoU of 0.5 or half of the box, a true person who does not count.
Object keypoint similarity (OKS) is averaged over the found, and counts visible joints alone, by
the area of the box times 0.44, which is what a rendered silhouette fills of it in the median.
Activities are judged of the found, in scenes of activities and from their second second on: a
cut swaps everybody at once, and activities are smoothed and judged from several poses. An id is
switched where a person who counts is found under another id than the last time, and has counted
in all judged frames since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mtl_perception.network.pose.skeleton import object_keypoint_similarity
from mtl_perception.ros.demo.people import HeardFrame, TrueFrame
from mtl_perception.ros.demo.people_matching import (
    areas_of,
    counts,
    FEWEST_INSIDE,
    FEWEST_VISIBLE,
    match_people,
    MIN_IOU,
    num_false,
    VISIBLE,
)
import torch

_BODY_SHARE = 0.44
SETTLE_SEC = 1.0
PEOPLE_RULE = (
    f'person = at least {FEWEST_INSIDE} of 17 joints in the picture, {FEWEST_VISIBLE} of them '
    f'visible; found = IoU >= {MIN_IOU}, one to one; OKS over the visible joints of the found; '
    f'activities of the found, in scenes of activities, after {SETTLE_SEC:g} s'
)

# What a demo must reach, and how it is called.
REQUIRED: dict[str, tuple[str, float]] = {
    'found_share': ('share of people found', 0.85),
    'mean_oks': ('mean OKS', 0.6),
    'activity_accuracy': ('share of right activities', 0.8),
}

Pair = tuple[TrueFrame, HeardFrame | None]


@dataclass(frozen=True)
class PeopleScore:
    """Counts over frames; the scores of several scenes add up."""

    frames: int = 0
    frames_heard: int = 0  # that the node spoke of
    frames_judged: int = 0
    people: int = 0  # true ones who count, once per judged frame
    found: int = 0
    false: int = 0
    poses: int = 0  # judged
    oks_sum: float = 0.0
    activities: int = 0  # judged
    activities_right: int = 0
    switches: int = 0
    person_sec: float = 0.0  # for how long people counted

    def __add__(self, other: PeopleScore) -> PeopleScore:
        return PeopleScore(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    @property
    def found_share(self) -> float | None:
        """Return the share of the people who were found."""
        return _ratio(self.found, self.people)

    @property
    def false_per_frame(self) -> float | None:
        """Return how many were heard of who are nobody, per judged frame."""
        return _ratio(self.false, self.frames_judged)

    @property
    def mean_oks(self) -> float | None:
        """Return the mean object keypoint similarity of the found."""
        return _ratio(self.oks_sum, self.poses)

    @property
    def activity_accuracy(self) -> float | None:
        """Return the share of right activities."""
        return _ratio(self.activities_right, self.activities)

    @property
    def switches_per_minute(self) -> float | None:
        """Return the switched ids per minute of a person in view."""
        return _ratio(60 * self.switches, self.person_sec)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and the counts behind them, for summary.json."""
        figures = {
            'found_share': self.found_share,
            'mean_oks': self.mean_oks,
            'activity_accuracy': self.activity_accuracy,
            'false_per_frame': self.false_per_frame,
            'switches_per_minute': self.switches_per_minute,
            **{f.name: getattr(self, f.name) for f in fields(self)},
        }
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def score_people(pairs: Sequence[Pair], *, has_poses: bool = True) -> PeopleScore:
    """
    Score the frames of one scene, in their order.

    :param pairs: Each frame with what was heard of it, ``None`` if nothing was.
    :param has_poses: Whether the network tells whose the joints are.
    """
    judged = [(truth, heard) for truth, heard in pairs if heard is not None]
    if not judged:
        judged = [(truth, HeardFrame(truth.stamp_ns, ())) for truth, _ in pairs]
    if not judged:
        return PeopleScore()
    settled_ns = pairs[0][0].stamp_ns + round(SETTLE_SEC * 1e9)
    identities = _Identities()
    num_heard = sum(heard is not None for _, heard in pairs)
    total = PeopleScore(frames=len(pairs), frames_heard=num_heard)
    for truth, heard in judged:
        matches = match_people(truth, heard)
        total += _score_frame(truth, heard, matches)
        if has_poses:
            total += PeopleScore(poses=len(matches), oks_sum=_oks_sum(truth, heard, matches))
        if truth.is_of_activities and truth.stamp_ns >= settled_ns:
            total += _score_activities(truth, heard, matches)
        total += identities.score(truth, heard, matches)
    return total


def _score_frame(truth: TrueFrame, heard: HeardFrame, matches: dict[int, int]) -> PeopleScore:
    return PeopleScore(
        frames_judged=1,
        people=int(counts(truth).sum()),
        found=len(matches),
        false=num_false(truth, heard, matches),
    )


def _score_activities(truth: TrueFrame, heard: HeardFrame, matches: dict[int, int]) -> PeopleScore:
    right = sum(truth.activities[t] == heard.people[h].activity for t, h in matches.items())
    return PeopleScore(activities=len(matches), activities_right=right)


def _oks_sum(truth: TrueFrame, heard: HeardFrame, matches: dict[int, int]) -> float:
    if not matches:
        return 0.0
    rows = list(matches)
    joints = truth.keypoints[rows].copy()
    joints[..., 2] = joints[..., 2] == VISIBLE
    areas = _BODY_SHARE * areas_of(truth.boxes[rows])
    found = heard.keypoints()[[matches[row] for row in rows]]
    alike = object_keypoint_similarity(*map(torch.from_numpy, (found, joints, areas)))
    return float(alike.diagonal().sum())


class _Identities:
    """Remembers under which id each person was found, for as long as the person counts."""

    def __init__(self) -> None:
        self._id_of: dict[int, str] = {}
        self._counted: set[int] = set()
        self._stamp_ns = 0

    def score(self, truth: TrueFrame, heard: HeardFrame, matches: dict[int, int]) -> PeopleScore:
        """Take in the next frame; return the switches in it and the time since the last one."""
        counted = {person for person, is_one in zip(truth.people, counts(truth)) if is_one}
        stayed = counted & self._counted
        elapsed_sec = (truth.stamp_ns - self._stamp_ns) * 1e-9
        now = {truth.people[t]: heard.people[h].track_id for t, h in matches.items()}
        before = {person: name for person, name in self._id_of.items() if person in stayed}
        switches = sum(before.get(person, name) != name for person, name in now.items())
        self._id_of, self._counted = before | now, counted
        self._stamp_ns = truth.stamp_ns
        return PeopleScore(switches=switches, person_sec=len(stayed) * elapsed_sec)


def total_score(scores: Iterable[PeopleScore | None]) -> PeopleScore | None:
    """Add up the scores of scenes; ``None`` where people were not scored in any."""
    known = [score for score in scores if score is not None]
    return sum(known, PeopleScore()) if known else None


def shortfalls(figures: Mapping[str, Any], asked: Iterable[str]) -> list[str]:
    """
    Return what of :data:`REQUIRED` was not reached.

    :param figures: As :meth:`PeopleScore.as_dict` returns them.
    :param asked: Which of the figures must be known and high enough.
    """
    problems = []
    for key in asked:
        (name, least), value = REQUIRED[key], figures[key]
        if value is None:
            problems.append(f'the {name} is unknown: nobody was judged.')
        elif value < least:
            problems.append(f'the {name}, {value:.2f}, is below {least:.2f}.')
    return problems
