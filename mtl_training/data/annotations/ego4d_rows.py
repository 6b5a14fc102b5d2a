"""Which rows of extracted features a moment of a video of Ego4D has."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOGGER = logging.getLogger(__name__)


class FeatureSet(NamedTuple):
    """How features were extracted; row i sees the frames from i * stride on, window of them."""

    name: str  # of its folder
    window: int  # frames
    stride: int  # frames
    dim: int


# https://ego4d-data.org/docs/data/features
FEATURE_SETS = {
    features.name: features
    for features in (
        FeatureSet('slowfast8x8_r101_k400', 32, 16, 2304),
        FeatureSet('omnivore_video_swinl', 32, 16, 1536),
        FeatureSet('omnivore_video_swinl_fp16', 32, 16, 1536),
        FeatureSet('omnivore_image_swinl', 1, 5, 1536),
    )
}


class FeatureRows(NamedTuple):
    """The rows of K intervals; those of interval i are ``first[i]`` to ``stop[i]``, without it."""

    first: NDArray[np.int64]  # [K]
    stop: NDArray[np.int64]  # [K]
    nearest: NDArray[np.int64]  # [K], the row at the start, for intervals that have none

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Tell which intervals have no row, ``[K]``."""
        return self.first == self.stop

    def filled(self) -> FeatureRows:
        """Return the same with the nearest row for intervals that have none."""
        first = np.where(self.is_empty, self.nearest, self.first)
        stop = np.where(self.is_empty, self.nearest + 1, self.stop)
        return FeatureRows(first, stop, self.nearest)


def num_rows(num_frames: int, features: FeatureSet) -> int:
    """
    Return how many rows a video has.

    One for each window that fits, and one more if frames remain, whose window ends with the video.

    :raises ValueError: If there is not a single frame.
    """
    if num_frames < 1:
        raise ValueError(f'num_frames must be at least 1, got {num_frames}.')
    return 1 + max(-((features.window - num_frames) // features.stride), 0)


def row_frames(num_frames: int, features: FeatureSet) -> NDArray[np.int64]:
    """
    Return the frames that each row sees, ``[N, 2]``: the first, and the one after the last.

    :raises ValueError: If there is not a single frame.
    """
    starts = np.arange(num_rows(num_frames, features)) * features.stride
    # The window of the last row is moved back where the video ends before it does.
    starts = np.minimum(starts, max(num_frames - features.window, 0))
    return np.stack([starts, np.minimum(starts + features.window, num_frames)], axis=1)


def interval_rows(
    start_frames: ArrayLike, end_frames: ArrayLike, num_rows: ArrayLike, features: FeatureSet
) -> FeatureRows:
    """
    Return the rows of intervals, from ``start // stride`` to ``end // stride``, without it.

    Intervals that reach beyond the last row end there. (EgoPack's code leaves out the last row
    of a video as well.) Of an interval within one stride nothing is left, nor of one that begins
    after the last row: see :attr:`FeatureRows.is_empty`.

    :param start_frames: ``[K]``, of the whole video.
    :param end_frames: ``[K]``, the frame after the last.
    :param num_rows: ``[K]`` or one, of the features of the video.
    :raises ValueError: If an interval begins before its video or ends before it begins, or a video
        has no rows.
    """
    starts, ends, counts = np.broadcast_arrays(
        *(np.asarray(values, np.int64) for values in (start_frames, end_frames, num_rows))
    )
    if wrong := np.flatnonzero((starts < 0) | (ends < starts) | (counts < 1)).tolist():
        i = wrong[0]
        raise ValueError(
            'start_frames must be at least 0, end_frames no less, and num_rows at least 1, got '
            f'{starts.flat[i]}, {ends.flat[i]} and {counts.flat[i]} for interval {i}.'
        )
    first = np.minimum(starts // features.stride, counts)
    stop = np.minimum(ends // features.stride, counts)
    return FeatureRows(first, stop, np.minimum(first, counts - 1))


def report_empty(rows: FeatureRows, what: str) -> int:
    """
    Return how many intervals have no row, with one warning if there are any.

    :param what: The intervals, for the message, as "actions of split 'train'".
    """
    count = int(rows.is_empty.sum())
    if count:
        _LOGGER.warning(
            '%d of %d %s have no row of features: they are shorter than one stride or lie after '
            'the last row.',
            count,
            rows.first.size,
            what,
        )
    return count
