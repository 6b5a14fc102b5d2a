"""One person's motion through a scene, and the ways to lay executions out in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtl_training.data.synthetic.labels import ACTIVITIES
from mtl_training.data.synthetic.poses import Array, KeyTrack, PoseTrack
import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Keys = list[tuple[float, Array]]  # (seconds from the start of one execution, pose)

# A motion counts as recognisable in a window that holds this share of one whole execution.
NEARLY_WHOLE = 0.8


def activity_id(name: str) -> int:
    """Return the place of an activity in ``ACTIVITIES``."""
    return ACTIVITIES.index(name)


def standing(times_sec: Array) -> NDArray[np.int64]:
    """Return the activity of someone who stands throughout."""
    return np.full(len(times_sec), activity_id('standing'))


@dataclass(frozen=True)
class Motion:
    """
    What one person does during a scene.

    ``executions`` are the intervals (seconds) of each whole execution, or of each cycle where the
    motion goes on and on; a neutral person has none.
    """

    track: PoseTrack
    executions: tuple[Interval, ...] = ()
    activities: Callable[[Array], NDArray[np.int64]] = standing

    def shown(self, start_sec: float, end_sec: float) -> float:
        """Return the largest share of one execution that lies within an interval."""
        shares = [
            float(max(0.0, min(end, end_sec) - max(start, start_sec)) / (end - start))
            for start, end in self.executions
        ]
        return max(shares, default=0.0)


def hold(pose: Array) -> KeyTrack:
    """Return the track that stays in one pose."""
    return KeyTrack.through([(0.0, pose), (1.0, pose)])


def reversed_keys(keys: Keys) -> Keys:
    """Return the same course run backward."""
    end = keys[-1][0]
    return [(end - time, pose) for time, pose in reversed(keys)]


def repeat(
    make_execution: Callable[[], Keys], rng: np.random.Generator, duration_sec: float
) -> Motion:
    """
    Execute again and again with short rests, starting anywhere within the first execution.

    Rests and executions are short enough (see the motions) for every window of two seconds to
    hold at least :data:`NEARLY_WHOLE` of one execution.
    """
    first = make_execution()
    at_rest_first = rng.random() < 0.5
    start = rng.uniform(0.0, 0.2) if at_rest_first else -rng.uniform(0.0, first[-1][0])
    keys: Keys = []
    executions: list[Interval] = []
    execution = first
    while start < duration_sec:
        keys += [(start + time, pose) for time, pose in execution]
        executions.append((start, start + execution[-1][0]))
        start += execution[-1][0] + rng.uniform(0.08, 0.25)
        execution = make_execution()
    return Motion(KeyTrack.through(keys), tuple(executions))


def once(
    keys: Keys,
    start_sec: float,
    activities: Callable[[Array], NDArray[np.int64]] = standing,
) -> Motion:
    """Execute a single time."""
    placed = [(start_sec + time, pose) for time, pose in keys]
    return Motion(KeyTrack.through(placed), ((start_sec, placed[-1][0]),), activities)


def cycles(start_sec: float, end_sec: float, period_sec: float) -> tuple[Interval, ...]:
    """Return the intervals of the cycles between two times."""
    count = int((end_sec - start_sec) / period_sec)
    return tuple(
        (start_sec + i * period_sec, start_sec + (i + 1) * period_sec) for i in range(count)
    )


def keys_of(poses: Sequence[Array], steps_sec: Sequence[float] | Array) -> Keys:
    """Return the keys of poses that follow one another after the given steps."""
    return list(zip(np.concatenate([[0.0], np.cumsum(steps_sec)]).tolist(), poses))
