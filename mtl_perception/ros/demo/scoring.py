"""
What the demo counts: scenes of known truth against the results that were heard.

The rule. A result belongs to a scene if it speaks of the scene's task and its clip lies wholly in
the scene: clip_start is not before the scene's first frame, the stamp not after its last. The
scores of those results are averaged class by class, over the classes that they list (top_k); the
class with the highest mean is what was recognised, and the scene is a hit if it is the truth. A
scene without any such result is a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtl_perception.ros.demo.people_scoring import PeopleScore, REQUIRED, shortfalls
import numpy as np

RULE = (
    'hit = the class with the highest mean score, over the results whose clip lies wholly in the '
    'scene, is the truth; a scene without such a result is a miss'
)
REQUIRED_ACCURACY = 0.75
# What scenes are of in which people walk, run, sit or stand.
ACTIVITY = 'activity'


@dataclass(frozen=True)
class HeardResult:
    """One result message, as it was heard."""

    task: str
    clip_start_ns: int
    stamp_ns: int  # of the newest frame of its clip
    heard_ns: int
    label: str  # '' = no class is probable enough
    scores: Mapping[str, float]  # of the classes that the message lists

    @property
    def latency_ms(self) -> float:
        """Time from the newest frame's stamp until the result was heard."""
        return (self.heard_ns - self.stamp_ns) * 1e-6


@dataclass
class Scene:
    """One rendered scene of known truth."""

    number: int
    task: str
    truth: str
    start_ns: int
    end_ns: int | None = None  # stamp of its last frame, once it is over
    num_images: int = 0  # heard of it
    results: list[HeardResult] = field(default_factory=list)  # of its task
    others: list[HeardResult] = field(default_factory=list)  # of all other tasks
    people: PeopleScore | None = None  # once it is over

    def holds(self, result: HeardResult) -> bool:
        """Return whether a result is about this scene alone."""
        return result.task == self.task and self.covers(result)

    def covers(self, result: HeardResult) -> bool:
        """Return whether the clip of a result, of any task, lies wholly in this scene."""
        is_early_enough = self.end_ns is None or result.stamp_ns <= self.end_ns
        return self.start_ns <= result.clip_start_ns and is_early_enough

    def add(self, result: HeardResult) -> None:
        """Keep a result, if its clip lies wholly in this scene."""
        if self.covers(result):
            (self.results if result.task == self.task else self.others).append(result)

    def end(self, end_ns: int) -> None:
        """Note the stamp of the last frame, and drop the results that go beyond it."""
        self.end_ns = end_ns
        self.results = [result for result in self.results if self.covers(result)]
        self.others = [result for result in self.others if self.covers(result)]

    def mean_scores(self) -> dict[str, float]:
        """Return the mean score of each class that any of the scene's results lists."""
        labels = {label for result in self.results for label in result.scores}
        return {
            label: sum(result.scores.get(label, 0.0) for result in self.results)
            / len(self.results)
            for label in sorted(labels)
        }

    def recognised(self) -> tuple[str, float]:
        """Return the class with the highest mean score and that score; ('', 0) without results."""
        means = self.mean_scores()
        label = max(means, key=lambda label: means[label], default='')
        return label, means.get(label, 0.0)

    def is_hit(self) -> bool:
        """Return whether the truth was recognised; of activities, whether all figures suffice."""
        if self.task == ACTIVITY:
            if self.people is None:
                return False
            figures = self.people.as_dict()
            return not shortfalls(figures, [key for key in REQUIRED if figures[key] is not None])
        return self.recognised()[0] == self.truth

    def rate_hz(self) -> float:
        """Return the images per second that were heard of the scene."""
        if self.end_ns is None or self.num_images < 2:
            return 0.0
        return (self.num_images - 1) / ((self.end_ns - self.start_ns) * 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """Return the scene as it stands in the summary."""
        label, score = self.recognised()
        people = {} if self.people is None else {'people': self.people.as_dict()}
        return {
            'number': self.number,
            'task': self.task,
            'truth': self.truth,
            'recognized': label,
            'score': round(score, 4),
            'hit': self.is_hit(),
            'results': len(self.results),
            'false_alarms': false_alarms([self]),
            'rate_hz': round(self.rate_hz(), 2),
            'latency_ms': percentiles(result.latency_ms for result in self.results),
            **people,
        }


def accuracy(scenes: Iterable[Scene], task: str) -> float | None:
    """Return the share of hits among a task's scenes; ``None`` if there are none."""
    hits = [scene.is_hit() for scene in scenes if scene.task == task]
    return sum(hits) / len(hits) if hits else None


def false_alarms(scenes: Iterable[Scene]) -> dict[str, dict[str, int]]:
    """
    Return, for each task, its results in scenes of others and how many of them had a label.

    Actions do not count in scenes of activities: who walks there does walk.
    """
    table: dict[str, dict[str, int]] = {}
    pairs = ((scene, result) for scene in scenes for result in scene.others)
    for scene, result in pairs:
        if (scene.task, result.task) == (ACTIVITY, 'action'):
            continue
        row = table.setdefault(result.task, {'labels': 0, 'results': 0})
        row['labels'] += bool(result.label)
        row['results'] += 1
    return table


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Return the median and the 95th percentile."""
    known = np.array(list(values), float)
    if not known.size:
        return {'p50': None, 'p95': None}
    p50, p95 = np.percentile(known, [50, 95])
    return {'p50': round(float(p50), 2), 'p95': round(float(p95), 2)}


def per_class(scenes: Iterable[Scene]) -> dict[str, dict[str, dict[str, int]]]:
    """Return hits and scenes of every class of every clip task."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for scene in scenes:
        if scene.task == ACTIVITY:
            continue
        row = table.setdefault(scene.task, {}).setdefault(scene.truth, {'hits': 0, 'scenes': 0})
        row['hits'] += scene.is_hit()
        row['scenes'] += 1
    return table


def segments(results: Sequence[HeardResult], start_ns: int) -> list[dict[str, Any]]:
    """
    Return the runs of equal labels of one task, in seconds since a time.

    :param results: Of one task, in the order of their stamps.
    """
    runs: list[list[HeardResult]] = []
    for result in results:
        if runs and runs[-1][-1].label == result.label:
            runs[-1].append(result)
        else:
            runs.append([result])
    return [
        {
            'start_sec': round((run[0].stamp_ns - start_ns) * 1e-9, 2),
            'end_sec': round((run[-1].stamp_ns - start_ns) * 1e-9, 2),
            'label': run[0].label,
            'score': round(sum(max(r.scores.values(), default=0.0) for r in run) / len(run), 4),
        }
        for run in runs
    ]
