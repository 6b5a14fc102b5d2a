"""Work on many files in processes of their own, one of which a damaged file may end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
import multiprocessing
import os
import signal
from typing import Any, TypeVar

T = TypeVar('T')
R = TypeVar('R')
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AHEAD = 2  # items per process that are given out


def num_processors() -> int:
    """Return how many processors this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )


def in_processes(
    function: Callable[[T], R], items: Sequence[T], jobs: int
) -> Iterator[tuple[T, R | None]]:
    """
    Yield each item with its result as they are done, in any order.

    The result is ``None`` if the item ends its process, as a decoder does that a damaged file
    crashes; the others are not affected. An interruption ends all processes at once.

    :param function: Of a module, so that other processes find it.
    :param jobs: Processes; 1 works in this one.
    """
    if jobs == 1:
        yield from ((item, function(item)) for item in items)
        return
    waiting = deque(items)
    while waiting:
        for item in (yield from _run(function, waiting, jobs)):
            # One of those that were under way: each by itself tells which.
            if (yield from _run(function, deque([item]), 1)):
                yield item, None


def _run(
    function: Callable[[T], R], waiting: deque[T], jobs: int
) -> Generator[tuple[T, R], None, list[T]]:
    """Yield results until all is done, or a process ends; return what was under way then."""
    context = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start)
    running: dict[Future[R], T] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _AHEAD * jobs:
                with _blocked_signals():
                    running[executor.submit(function, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result
        return []
    except BrokenProcessPool:
        return list(running.values())
    finally:
        executor.shutdown(cancel_futures=True)


def _start() -> None:
    # Ctrl-C reaches the whole process group: a worker ends at once, and without a word.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def _blocked_signals() -> Iterator[Any]:
    # A worker that is started meanwhile hears none before it knows what they mean.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
