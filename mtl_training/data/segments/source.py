"""What the windows are cut from: annotated videos, and their features."""

from __future__ import annotations

from collections.abc import Sequence
import logging
from typing import Protocol

from mtl_training.data.annotations.ego4d import Action, RATE_HZ, StateChange
from mtl_training.data.annotations.ego4d_rows import (
    FeatureRows,
    FeatureSet,
    interval_rows,
    report_empty,
)
import numpy as np
from numpy.typing import NDArray

_LOGGER = logging.getLogger(__name__)


class SegmentSource(Protocol):
    """
    Annotated videos of one split and their features.

    Frames are counted at 30 Hz by time, whatever the rate of the video.

    :param split: Its name, for messages.
    :param groups: Names of the labels: the first group is that of ``Action.verb``; the second,
        where there are two, that of ``Action.noun``.
    :param actions: Of all videos; those of one ``clip_uid`` follow each other by ``action_idx``.
    :param changes: Intervals in which an object changes its state, or none does.
    :param feature_set: Which frames the rows of features see.
    """

    split: str
    groups: dict[str, tuple[str, ...]]
    feature_set: FeatureSet

    @property
    def actions(self) -> Sequence[Action]:
        """Return the annotated actions."""

    @property
    def changes(self) -> Sequence[StateChange]:
        """Return the annotated intervals."""

    def features(self, video_uid: str) -> NDArray[np.floating]:
        """Return the features of a video, ``[N, D]``, N at least 1."""


def rows_of(
    source: SegmentSource, intervals: Sequence[Action] | Sequence[StateChange], what: str
) -> FeatureRows:
    """
    Return the rows of features of intervals, one at least.

    An interval that has none, because it is shorter than one stride or lies after the last row,
    gets the nearest row; how many there are is told once.

    :param what: The intervals, for messages.
    :raises ValueError: If there is no interval.
    """
    if not intervals:
        raise ValueError(f"split '{source.split}' has no {what} to learn from or to judge.")
    counts = {uid: len(source.features(uid)) for uid in {i.video_uid for i in intervals}}
    rows = interval_rows(
        [interval.start_frame for interval in intervals],
        [interval.end_frame for interval in intervals],
        [counts[interval.video_uid] for interval in intervals],
        source.feature_set,
    )
    report_empty(rows, f"{what} of split '{source.split}'")
    return rows.filled()


def report_clamped(source: SegmentSource, intervals: Sequence[StateChange]) -> int:
    """
    Return how many intervals go on after the last row of their video, with one warning.

    :param intervals: Whose features at moments are interpolated between rows.
    """
    ends = np.array([len(source.features(i.video_uid)) for i in intervals])
    last = centre_frame(source.feature_set, ends - 1) + source.feature_set.stride
    count = int(sum(interval.end_frame > end for interval, end in zip(intervals, last)))
    if count:
        _LOGGER.warning(
            "%d of %d intervals of split '%s' go on after the last row of features, which stands "
            'in for what is missing.',
            count,
            len(intervals),
            source.split,
        )
    return count


def centre_frame(features: FeatureSet, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the frame in the middle of what rows see."""
    return np.asarray(rows * features.stride + features.window / 2, np.float64)


def seconds(frames: float) -> float:
    """Return the time of a frame."""
    return frames / RATE_HZ
