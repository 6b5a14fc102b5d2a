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


def top_labels(
    probabilities: np.ndarray, labels: Sequence[str], k: int
) -> list[tuple[str, float]]:
    """Return the ``k`` most probable labels with their probabilities, best first."""
    best = np.argsort(-probabilities, kind='stable')[:k]
    return [(labels[index], float(probabilities[index])) for index in best]
