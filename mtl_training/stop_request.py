"""Stopping a run in order: Ctrl-C or SIGTERM ends it after the present iteration."""

from __future__ import annotations

from collections.abc import Callable
import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """
    Listens for the signals while it is entered; the second one interrupts at once.

    :param say: Tells the user what happens.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._handlers: dict[int, Any] = {}
        self.is_made = False

    def __enter__(self) -> StopRequest:
        self._handlers = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.is_made:
            raise KeyboardInterrupt
        self.is_made = True
        self._say('stopping after this iteration; once more stops at once')
