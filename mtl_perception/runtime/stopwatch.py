"""How long parts of a computation take on a device that works on its own."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch


class Stopwatch:
    """
    Measures laps without waiting for the device: on a GPU it leaves marks between the kernels.

    :param device: What computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._names: list[str] = []
        self._marks: list[Any] = [self._mark()]

    def lap(self, name: str) -> None:
        """End a lap; one without a name is not told."""
        self._names.append(name)
        self._marks.append(self._mark())

    def laps(self) -> dict[str, float]:
        """Return the seconds of each lap; on a GPU, once it has been waited for."""
        pairs = zip(self._names, itertools.pairwise(self._marks))
        return {name: _seconds_between(*pair) for name, pair in pairs if name}

    def _mark(self) -> Any:
        if self._device.type != 'cuda':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _seconds_between(start: Any, end: Any) -> float:
    return end - start if isinstance(start, float) else 1e-3 * start.elapsed_time(end)
