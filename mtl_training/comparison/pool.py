"""The workers of a comparison: they are given runs, watched, replaced and stopped."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
import multiprocessing
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
import os
import signal

from mtl_training.comparison.devices import with_threads
from mtl_training.comparison.plan import PlannedRun
from mtl_training.comparison.progress import ComparisonProgress
from mtl_training.comparison.worker import work
from mtl_training.stop_request import SIGNALS, StopRequest

ATTEMPTS = 2  # of a run whose worker was killed; an error of its own would only repeat itself
POLL_SEC = 0.5
GRACE_SEC = 20.0


@dataclass(slots=True)
class _Worker:
    device: str | None
    process: SpawnProcess
    connection: Connection
    run: PlannedRun | None = None


class WorkerPool:
    """
    Train runs in processes of their own, one per device.

    :param devices: Of each worker; see :func:`mtl_training.comparison.devices.choose_devices`.
    :param progress: Told what happens.
    """

    def __init__(self, devices: Sequence[str | None], progress: ComparisonProgress) -> None:
        self._devices, self._progress = list(devices), progress
        self._workers: list[_Worker] = []
        self._waiting: deque[PlannedRun] = deque()
        self._attempts: Counter[str] = Counter()
        self._is_stopping = False

    def train(self, runs: Sequence[PlannedRun]) -> bool:
        """
        Train runs, in their order; failures are left in their folders and stop nothing else.

        :return: Whether all were tried; False if a signal stopped it, after resume points.
        """
        self._waiting.extend(runs)
        try:
            with StopRequest(self._progress.say) as request:
                while self._waiting or any(w.run for w in self._workers):
                    if request.is_made and not self._is_stopping:
                        self._stop()
                    self._assign()
                    self._collect()
        finally:
            self._close()
        return not self._is_stopping

    def _assign(self) -> None:
        while self._waiting and (worker := self._idle_worker()):
            run = self._waiting.popleft()
            run.failure.unlink(missing_ok=True)
            worker.run = run
            self._attempts[run.name] += 1
            self._progress.started(run)
            # A worker that has just died is found by the next look at its sentinel.
            with suppress(BrokenPipeError):
                worker.connection.send((with_threads(run), str(run.path), str(run.log)))

    def _idle_worker(self) -> _Worker | None:
        for worker in self._workers:
            if worker.run is None:
                return worker
        busy = [worker.device for worker in self._workers]
        free = list(self._devices)
        for device in busy:
            free.remove(device)
        return self._start(free[0]) if free else None

    def _start(self, device: str | None) -> _Worker:
        context = multiprocessing.get_context('spawn')
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs,))
        before = os.environ.get('CUDA_VISIBLE_DEVICES')
        # Blocked until the worker knows what a signal means.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if device is not None:
                os.environ['CUDA_VISIBLE_DEVICES'] = device
            process.start()
        finally:
            if device is not None:
                os.environ.pop('CUDA_VISIBLE_DEVICES')
                if before is not None:
                    os.environ['CUDA_VISIBLE_DEVICES'] = before
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        worker = _Worker(device, process, ours)
        self._workers.append(worker)
        return worker

    def _collect(self) -> None:
        watched = [w.connection for w in self._workers] + [
            w.process.sentinel for w in self._workers
        ]
        wait(watched, POLL_SEC)
        for worker in list(self._workers):
            # First what it said: it may have said it and died since.
            with suppress(EOFError, ConnectionResetError):
                if worker.connection.poll() and worker.run:
                    outcome, reason = worker.connection.recv()
                    self._ended(worker.run, outcome, reason)
                    worker.run = None
            if not worker.process.is_alive():
                self._bury(worker)
        self._progress.refresh()

    def _bury(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        run, code = worker.run, worker.process.exitcode or 0
        if run is None:
            return
        if self._is_stopping:
            self._ended(run, 'stopped', '')
        elif code < 0 and self._attempts[run.name] < ATTEMPTS:
            self._progress.retried(run, _killed_by(-code))
            self._waiting.appendleft(run)
        else:
            self._ended(run, 'failed', _killed_by(-code) if code < 0 else _last_line(run))

    def _ended(self, run: PlannedRun, outcome: str, reason: str) -> None:
        if outcome == 'failed':
            run.failure.write_text(reason + '\n', encoding='utf-8')
        self._progress.ended(run, outcome, reason)

    def _stop(self) -> None:
        self._is_stopping = True
        self._waiting.clear()
        self._signal_busy()

    def _signal_busy(self) -> None:
        for worker in self._workers:
            if worker.run and worker.process.is_alive():
                worker.process.terminate()

    def _close(self) -> None:
        self._signal_busy()  # only after an interruption is one still busy
        for worker in self._workers:
            with suppress(BrokenPipeError):
                worker.connection.send(None)
        for worker in self._workers:
            worker.process.join(GRACE_SEC)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
        self._workers.clear()


def _killed_by(number: int) -> str:
    hint = ' (out of memory?)' if number == signal.SIGKILL else ''
    return f'its process was killed by {signal.Signals(number).name}{hint}'


def _last_line(run: PlannedRun) -> str:
    text = run.log.read_text(encoding='utf-8', errors='replace') if run.log.exists() else ''
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else 'its process ended without a word'
