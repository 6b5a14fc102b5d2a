"""Timing calls on any device: one by itself, or several beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

from rich.console import Console
import torch

T = TypeVar('T')


def timed(run: Callable[[], T], device: str) -> tuple[T, float]:
    """Return what a call returns, and the seconds that it takes until the device is done."""
    start = perf_counter()
    result = run()
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
    return result, perf_counter() - start


def side_by_side(
    runs: Mapping[str, Callable[[], object]], device: str, repetitions: int
) -> dict[str, list[float]]:
    """
    Return the seconds of each run in every round, all of them one after the other.

    What else the machine does slows all of a round, so that ratios within a round hold; the order
    is turned round each time, and the first round only warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions + 1):
        for name, run in [*runs.items()][:: 1 if repetition % 2 else -1]:
            elapsed = timed(run, device)[1]
            if repetition:
                seconds[name].append(elapsed)
    return seconds


def console_for_tables() -> Console:
    """Return where tables are printed; what is no terminal is wide enough for all columns."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
