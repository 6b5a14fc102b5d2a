"""Which rows of features become the features of the nodes of a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def even_rows(first: NDArray[np.int64], stop: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """
    Return rows spread evenly over intervals, from their first to their last.

    :param first: ``[K]``.
    :param stop: ``[K]``, the row after the last.
    :return: ``[K, count]``, sorted; the middle one for a ``count`` of 1.
    """
    shares = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    steps = shares * (stop - first - 1)[:, None]
    # Halves are rounded up: to the even number, two of three rows could be one and the same.
    return first[:, None] + np.floor(steps + 0.5).astype(np.int64)


def drawn_rows(first: NDArray[np.int64], stop: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """
    Draw rows of intervals at random, each at most once where there are enough.

    Drawn from NumPy's global generator, which the trainer seeds by the place of the draw.

    :param first: ``[K]``.
    :param stop: ``[K]``, the row after the last.
    :return: ``[K, count]``, sorted.
    """
    lengths = stop - first
    longest = int(lengths.max())
    keys = _uniform(len(first), max(longest, count))
    # A row is chosen if its key is among the smallest; those that are not there come last.
    keys[np.arange(keys.shape[1]) >= lengths[:, None]] = 2.0
    steps = keys.argpartition(count - 1, axis=1)[:, :count]
    if (short := lengths < count).any():
        repeated = _uniform(int(short.sum()), count) * lengths[short, None]
        steps[short] = repeated.astype(np.int64)
    steps.sort(axis=1)
    return first[:, None] + steps


def drawn_window(
    length: float, moment: float, shortest: float, longest: float
) -> tuple[float, float]:
    """
    Draw a window that contains a moment from within an interval.

    Its length is uniform between the two bounds, as far as the interval goes, its start uniform
    over all places where the moment is inside. Drawn as :func:`drawn_rows`.

    :param length: Of the interval.
    :param moment: Since the start of the interval.
    :return: Start, since that of the interval, and length.
    """
    where, how_long = _uniform(1, 2)[0].tolist()
    shortest, longest = min(shortest, length), min(longest, length)
    span = shortest + how_long * (longest - shortest)
    earliest, latest = max(0.0, moment - span), min(moment, length - span)
    return earliest + where * (latest - earliest), span


def interpolated(
    features: NDArray[np.floating], places: NDArray[np.float64]
) -> NDArray[np.float32]:
    """
    Return features between rows, linearly.

    :param features: ``[N, D]``.
    :param places: ``[K]``, in rows; beyond the ends they are those of the ends.
    :return: ``[K, D]``.
    """
    clipped = places.clip(0, len(features) - 1)
    below = clipped.astype(np.int64)
    above = np.minimum(below + 1, len(features) - 1)
    share = (clipped - below).astype(np.float32)[:, None]
    low = features[below].astype(np.float32, copy=False)
    return low + share * (features[above].astype(np.float32, copy=False) - low)


def _uniform(*shape: int) -> NDArray[np.float64]:
    return np.random.random(shape)  # noqa: NPY002
