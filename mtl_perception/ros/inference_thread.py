"""The thread that recognises, always from the newest state."""

from __future__ import annotations

from collections.abc import Callable
import math
import threading
import time
import traceback

from mtl_perception.ros.parameters import PerceptionParameters
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.ros.throttle import Throttle
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import Results
import torch

PAUSE_AFTER_ERROR_SEC = 0.2
# How soon a change of max_rate_hz takes effect.
RATE_CHECK_SEC = 0.1


class InferenceThread:
    """
    Waits for frames, recognises the newest clip and frame and hands the results on.

    :param parameters: Returns the parameters as they are now.
    :param publish: Is called on the thread with the results of one moment.
    :param show: Is called after that, for what can wait.
    :param log_error: Logs a line.
    :param is_running: Returns whether ROS is up; errors that come of its going down are none.
    :param num_threads: CPU threads of the network.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        statistics: StreamStatistics,
        *,
        parameters: Callable[[], PerceptionParameters],
        publish: Callable[[Results], None],
        show: Callable[[Results], None],
        log_error: Callable[[str], object],
        is_running: Callable[[], bool],
        num_threads: int,
    ) -> None:
        self._recognizer = recognizer
        self._statistics = statistics
        self._parameters = parameters
        self._publish, self._show = publish, show
        self._log_error = Throttle(log_error)
        self._is_running = is_running
        self._num_threads = num_threads
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the clip at hand."""
        self._stop.set()
        self._recognizer.wake()
        self._thread.join()

    def _run(self) -> None:
        # torch keeps this number per thread: the image callback's stays as it is.
        torch.set_num_threads(self._num_threads)
        last_sec = -math.inf
        while not self._stop.is_set():
            if not self._recognizer.wait_for_frame(1.0):
                continue
            left_sec = last_sec + self._parameters().min_period_sec - time.monotonic()
            if left_sec > 0:
                self._stop.wait(min(left_sec, RATE_CHECK_SEC))
                continue
            last_sec = time.monotonic()
            try:
                self._step()
            # Whatever a network or a driver comes up with, the next frame deserves its try.
            except Exception as error:
                if self._is_running() and not self._stop.is_set():
                    self._note(error)
                self._stop.wait(PAUSE_AFTER_ERROR_SEC)

    def _step(self) -> None:
        parameters, statistics = self._parameters(), self._statistics
        start_sec = time.monotonic()
        results = self._recognizer.recognise(parameters.recognition)
        for error in results.errors:
            self._note(error)
        if results.is_pause:
            statistics.paused_sec = time.monotonic()
        if not results or self._stop.is_set():
            return
        inferred_sec = time.monotonic()
        self._publish(results)
        now_sec = time.monotonic()
        statistics.infer_ms.add(1e3 * (inferred_sec - start_sec))
        statistics.publish_ms.add(1e3 * (now_sec - inferred_sec))
        assert results.frame is not None
        statistics.node_ms.add(1e3 * (now_sec - results.frame.received_sec))
        statistics.recognised.add(now_sec)
        statistics.recognised_sec = now_sec
        statistics.counts.add('recognised')
        self._note_branches(results)
        try:
            self._show(results)
        # The results are out: no picture of them is a smaller loss.
        except Exception as error:
            if self._is_running() and not self._stop.is_set():
                self._log('Showing the results failed', error)

    def _note_branches(self, results: Results) -> None:
        statistics = self._statistics
        branches = {
            'clip': statistics.clip_ms,
            'memory': statistics.memory_ms,
            'frame': statistics.frame_ms,
        }
        for name, elapsed_sec in results.branch_sec.items():
            branches[name].add(1e3 * elapsed_sec)
        if results.people is not None:
            statistics.num_people = len(results.people.people)
        if results.of_clips:
            statistics.clip_recognised_sec = statistics.recognised_sec
            distinct = [said.num_distinct for said in results.of_clips]
            statistics.num_distinct = min(distinct)

    def _note(self, error: Exception) -> None:
        count = self._statistics.counts.add('errors')
        self._statistics.error = f'{type(error).__name__}: {error}'
        self._statistics.error_sec = time.monotonic()
        self._log(f'Inference failed ({count} so far)', error)

    def _log(self, what: str, error: Exception) -> None:
        calls = traceback.extract_tb(error.__traceback__)
        where = f' ({calls[-1].filename}:{calls[-1].lineno})' if calls else ''
        name = type(error).__name__
        self._log_error(
            name + where, f'{what}, going on with the next frame: {name}: {error}{where}'
        )
