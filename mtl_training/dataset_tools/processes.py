"""Work on many files in processes of their own, one of which a damaged file may end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
import multiprocessing
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
import os
import signal
import time
from typing import Any, Generic, TypeVar

T = TypeVar('T')
R = TypeVar('R')
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SEC = 1.0  # with processes that are told to end


def num_processors() -> int:
    """Return how many processors this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )


def streams_of_processes(
    function: Callable[[T], Iterable[R]], items: Sequence[T], jobs: int
) -> Iterator[tuple[T, R | None]]:
    """
    Yield each item with what the function yields for it, piece by piece, as it comes.

    Each process is at most one piece ahead of who takes them. ``None`` comes for an item that ends
    its process. An interruption, and the end of the iterator, end all processes at once.

    :param function: As of :func:`in_processes`; must not yield ``None``.
    :param jobs: Processes; 0 works in this one.
    :raises ValueError: As the function does; likewise ``OSError``.
    """
    if jobs == 0:
        yield from ((item, piece) for item in items for piece in function(item))
        return
    yield from _of_workers(lambda: _Worker(function, _work_in_pieces), items, jobs)


def in_processes(
    function: Callable[[T], R], items: Sequence[T], jobs: int
) -> Iterator[tuple[T, R | None]]:
    """
    Yield each item with its result as they are done, in any order.

    The result is ``None`` if the item ends its process, as a decoder does that a damaged file
    crashes; the others are not affected. An interruption ends all processes at once, whatever
    they do: a pool of the standard library shares locks with its processes and its own thread,
    and an interruption that comes while one is held is waited for without end.

    :param function: Of a module, so that other processes find it.
    :param jobs: Processes; 1 works in this one.
    :raises ValueError: As the function does; likewise ``OSError``. Any other error of it ends its
        process.
    """
    if jobs == 1:
        yield from ((item, function(item)) for item in items)
        return
    yield from _of_workers(lambda: _Worker(function, _work), items, jobs)


def _of_workers(
    make_worker: Callable[[], _Worker[T, Any]], items: Sequence[T], jobs: int
) -> Iterator[tuple[T, Any]]:
    # Its start would unblock the signals that are blocked while processes are started.
    resource_tracker.ensure_running()
    waiting = deque(items)
    workers: list[_Worker[T, Any]] = []
    try:
        while waiting or any(worker.is_busy for worker in workers):
            while len(workers) < jobs and waiting:
                # Known before it starts, so that it is ended whenever an interruption comes.
                workers.append(make_worker())
                workers[-1].start()
            for worker in workers:
                if waiting and not worker.is_busy:
                    worker.give(waiting.popleft())
            for worker in _heard(workers):
                try:
                    result = worker.receive()
                except (EOFError, OSError):
                    workers.remove(worker)
                    _end([worker])
                    result = None
                if isinstance(result, _Raised):
                    raise result.error
                if result is not _Signal.END:
                    yield worker.item, result
    finally:
        _end(workers)


def _heard(workers: Sequence[_Worker[T, R]]) -> list[_Worker[T, R]]:
    """Wait for those at work until one has an answer, or has ended; return all of which it is."""
    busy = {id(worker.connection): worker for worker in workers if worker.is_busy}
    return [busy[id(ready)] for ready in wait([w.connection for w in busy.values()])]


class _Signal(Enum):
    """What comes from another process between pieces."""

    END = 'end'  # of the pieces of an item


class _Raised:
    """What the function raised, as it comes from another process."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Worker(Generic[T, R]):
    """A process with a connection that nobody else has, and what it works on."""

    item: T

    def __init__(
        self, function: Callable[[T], Any], work: Callable[[Callable[[T], Any], Connection], None]
    ) -> None:
        context = multiprocessing.get_context('spawn')
        self.is_busy = False
        self.connection, self._theirs = context.Pipe()
        # A daemon: it ends with this process however that ends.
        self.process = context.Process(target=work, args=(function, self._theirs), daemon=True)

    def start(self) -> None:
        with _blocked_signals():
            self.process.start()
        # So that the connection ends with the process.
        self._theirs.close()

    def give(self, item: T) -> None:
        self.item, self.is_busy = item, True
        # One that has ended meanwhile shows it when it is heard.
        with suppress(OSError):
            self.connection.send(item)

    def receive(self) -> Any:
        """
        Return the answer, or the next piece of it.

        :raises EOFError: If the process has ended; or ``OSError``, in the middle of its answer.
        """
        is_last, answer = self.connection.recv()
        self.is_busy = not is_last
        return answer


def _work(function: Callable[[Any], Any], connection: Connection) -> None:
    _work_on(connection, lambda item: [(True, function(item))])


def _work_in_pieces(function: Callable[[Any], Iterable[Any]], connection: Connection) -> None:
    def answers(item: Any) -> Iterator[tuple[bool, Any]]:
        yield from ((False, piece) for piece in function(item))
        yield True, _Signal.END

    _work_on(connection, answers)


def _work_on(connection: Connection, answers: Callable[[Any], Iterable[tuple[bool, Any]]]) -> None:
    # Ctrl-C reaches the whole process group: a worker ends at once, and without a word.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    with suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            try:
                for answer in answers(item):
                    connection.send(answer)
            except (OSError, ValueError) as error:
                connection.send((True, _Raised(error)))


def _end(workers: Sequence[_Worker[Any, Any]]) -> None:
    """End processes, also those that hear no signals yet because they are still importing."""
    with _blocked_signals():
        started = [worker.process for worker in workers if worker.process.pid is not None]
        for process in started:
            process.terminate()
        until_sec = time.monotonic() + _PATIENCE_SEC
        for process in started:
            process.join(max(0.0, until_sec - time.monotonic()))
        for process in started:
            process.kill()
            process.join()
        for worker in workers:
            worker.connection.close()


@contextmanager
def _blocked_signals() -> Iterator[Any]:
    # A worker that is started meanwhile hears none before it knows what they mean.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
