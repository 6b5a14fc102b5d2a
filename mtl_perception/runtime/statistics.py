"""Figures about a running stream: durations, rates and counts, safe to use from any thread."""

from __future__ import annotations

from collections import Counter, deque
import threading

import numpy as np


class RollingStatistics:
    """Percentiles of the last ``size`` values."""

    def __init__(self, size: int = 300) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Take in a value."""
        with self._lock:
            self._values.append(value)

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()

    def percentiles(self, *ranks: float) -> list[float] | None:
        """Return the values below which the given percentages lie, or None when there are none."""
        with self._lock:
            values = list(self._values)
        return np.percentile(values, ranks).tolist() if values else None


class Rate:
    """Events per second over the last ``window_sec`` seconds."""

    def __init__(self, window_sec: float = 3.0) -> None:
        self._window_sec = window_sec
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def add(self, now_sec: float) -> None:
        """Count an event at a reading of a steady clock."""
        with self._lock:
            self._times.append(now_sec)
            self._forget(now_sec)

    def per_second(self, now_sec: float) -> float:
        """Return the rate seen from the given reading of the same clock."""
        with self._lock:
            self._forget(now_sec)
            if len(self._times) < 2:
                return 0.0
            span = self._times[-1] - self._times[0]
            return (len(self._times) - 1) / span if span > 0 else 0.0

    def clear(self) -> None:
        """Forget all events."""
        with self._lock:
            self._times.clear()

    def _forget(self, now_sec: float) -> None:
        while self._times and self._times[0] < now_sec - self._window_sec:
            self._times.popleft()


class Counters:
    """Named counts that only grow."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, kind: str, by: int = 1) -> int:
        """Add to a count and return it."""
        with self._lock:
            self._counts[kind] += by
            return self._counts[kind]

    def __getitem__(self, kind: str) -> int:
        with self._lock:
            return self._counts[kind]

    def as_dict(self) -> dict[str, int]:
        """Return a copy of all counts, in the order in which they first appeared."""
        with self._lock:
            return dict(self._counts)
