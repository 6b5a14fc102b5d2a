"""Timing one call on any device."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

import torch

T = TypeVar('T')


def timed(run: Callable[[], T], device: str) -> tuple[T, float]:
    """Return what a call returns, and the seconds that it takes until the device is done."""
    start = perf_counter()
    result = run()
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
    return result, perf_counter() - start
