"""Log lines that come at once the first time and are counted, not repeated, after that."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time


class Throttle:
    """
    Passes the first message of each kind on at once, then at most one every ``period_sec``.

    :param emit: What to do with a line.
    :param clock: A steady clock, in seconds.
    """

    def __init__(
        self,
        emit: Callable[[str], object],
        *,
        period_sec: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._period_sec = period_sec
        self._clock = clock
        self._last_sec: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, kind: str, line: str) -> None:
        """Log a line of some kind, or count it."""
        with self._lock:
            now = self._clock()
            last = self._last_sec.get(kind)
            if last is not None and now - last < self._period_sec:
                self._held_back[kind] = self._held_back.get(kind, 0) + 1
                return
            self._last_sec[kind] = now
            more = self._held_back.pop(kind, 0)
        self._emit(f'{line} (and {more} more since the last such line)' if more else line)

    def forget(self, kind: str) -> None:
        """Let the next message of a kind through at once."""
        with self._lock:
            self._last_sec.pop(kind, None)
            self._held_back.pop(kind, None)
