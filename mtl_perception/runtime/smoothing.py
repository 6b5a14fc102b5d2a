"""Steadier labels: probabilities smoothed over time, and what is said about them."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np


class Smoother:
    """
    Exponential smoothing with a time constant in seconds, by acquisition stamps.

    The weight of an old result depends on how long ago it was, not on how many came since, so a
    faster computer gives the same answers.
    """

    def __init__(self) -> None:
        self._state: np.ndarray | None = None
        self._stamp_ns = 0
        self._generation = -1

    def update(
        self,
        probabilities: np.ndarray,
        stamp_ns: int,
        *,
        time_constant_sec: float,
        generation: int = 0,
    ) -> np.ndarray:
        """
        Take in one result and return the smoothed one.

        :param probabilities: ``[C]``.
        :param stamp_ns: Stamp of the newest frame behind them.
        :param time_constant_sec: After this time an old result weighs 1/e; 0 smooths nothing.
        :param generation: A change means that the stream has been interrupted: start afresh.
        :raises ValueError: If a probability is not finite; what was known before is kept.
        """
        if not np.isfinite(probabilities).all():
            raise ValueError(f'probabilities must be finite, got {probabilities}.')
        elapsed_sec = (stamp_ns - self._stamp_ns) * 1e-9
        keep = 0.0
        if generation == self._generation and elapsed_sec >= 0 and time_constant_sec > 0:
            keep = math.exp(-elapsed_sec / time_constant_sec)
        if self._state is None or keep == 0:
            self._state = probabilities
        else:
            self._state = keep * self._state + (1 - keep) * probabilities
        self._stamp_ns, self._generation = stamp_ns, generation
        return self._state


class TrackSmoother:
    """
    What :class:`Smoother` does, for each track by itself: people who come and go.

    A track is forgotten once its old result would weigh less than the rounding of a double, so
    memory is bounded by the people seen in 37 time constants.
    """

    def __init__(self) -> None:
        self.reset()

    def __len__(self) -> int:
        """Return the number of tracks remembered."""
        return len(self._ids)

    def reset(self) -> None:
        """Forget all tracks."""
        self._ids: list[str] = []
        self._state = np.empty((0, 0))
        self._stamps_ns = np.empty(0, dtype=np.int64)

    def update(
        self,
        ids: Sequence[str],
        probabilities: np.ndarray,
        stamp_ns: int,
        *,
        time_constant_sec: float,
    ) -> np.ndarray:
        """
        Take in the results of a frame and return the smoothed ones.

        :param ids: ``N`` tracks, no two the same; what has an empty one is not smoothed.
        :param probabilities: ``[N, C]``.
        :param stamp_ns: Of the frame; one before the last forgets all tracks.
        :param time_constant_sec: After this time an old result weighs 1/e; 0 smooths nothing.
        :return: float64 ``[N, C]``.
        :raises ValueError: If shapes do not fit, a track appears twice or a probability is not
            finite; what was known before is kept.
        """
        _check_tracks(ids, probabilities)
        if len(self._stamps_ns) and stamp_ns < self._stamps_ns.max():
            self.reset()
        elapsed_sec = (stamp_ns - self._stamps_ns) * 1e-9
        keep = np.zeros(len(self))
        if time_constant_sec > 0:
            keep = np.exp(-elapsed_sec / time_constant_sec)
        smoothed = np.array(probabilities, dtype=np.float64)
        row_of = {track: row for row, track in enumerate(self._ids)}
        pairs = [(person, row_of[track]) for person, track in enumerate(ids) if track in row_of]
        people, rows = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        if len(rows):
            weights = keep[rows, None]
            smoothed[people] = weights * self._state[rows] + (1 - weights) * smoothed[people]
        keep[rows] = 0  # replaced by what follows
        named = [person for person, track in enumerate(ids) if track]
        self._remember(keep > np.finfo(np.float64).eps / 2, ids, smoothed, named, stamp_ns)
        return smoothed

    def _remember(
        self,
        is_kept: np.ndarray,
        ids: Sequence[str],
        smoothed: np.ndarray,
        named: list[int],
        stamp_ns: int,
    ) -> None:
        old = np.flatnonzero(is_kept)
        self._ids = [self._ids[row] for row in old] + [ids[person] for person in named]
        if len(old):
            self._state = np.concatenate([self._state[old], smoothed[named]])
        else:
            self._state = smoothed[named]
        stamps_ns = np.full(len(named), stamp_ns, dtype=np.int64)
        self._stamps_ns = np.concatenate([self._stamps_ns[old], stamps_ns])


def _check_tracks(ids: Sequence[str], probabilities: np.ndarray) -> None:
    if probabilities.ndim != 2 or len(probabilities) != len(ids):
        raise ValueError(f'probabilities must be [{len(ids)}, C], got {probabilities.shape}.')
    named = [track for track in ids if track]
    if len(set(named)) < len(named):
        raise ValueError(f'ids must differ from one another, got {list(ids)}.')
    if not np.isfinite(probabilities).all():
        raise ValueError(f'probabilities must be finite, got {probabilities}.')


def top_labels(
    probabilities: np.ndarray, labels: Sequence[str], k: int
) -> list[tuple[str, float]]:
    """Return the ``k`` most probable labels with their probabilities, best first."""
    best = np.argsort(-probabilities, kind='stable')[:k]
    return [(labels[index], float(probabilities[index])) for index in best]
