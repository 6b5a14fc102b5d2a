"""Frames at the moments when they are due: read ahead by a thread, handed out on time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import queue
import threading
import time

from mtl_perception.runtime.video_source import SourceFrame, VideoSource

# How far the reader may be ahead: 2 s, but no more than 60 frames (166 MB of 1280x720).
_AHEAD_SEC = 2.0
_AHEAD_FRAMES = 60
# A frame later than this is not a late frame: the source is too slow, and its clock slips.
_MAX_LATE_SEC = 0.25
# How long the reader may take to end: a camera that has been unplugged keeps it for some seconds.
_END_TIMEOUT_SEC = 5.0


@dataclass(frozen=True)
class TimedFrame:
    """A frame and when it was due or captured."""

    frame: SourceFrame
    due_sec: float  # by time.monotonic()


class FramePacer:
    """
    Hands out the frames of a source when they are due.

    A thread reads ahead, so that decoding a key frame or rendering a new scene delays nothing. If
    the source is slower than its own rate all the same, the rest is shifted: the times never run
    ahead of the clock, and never backward.
    """

    def __init__(self, open_source: Callable[[], VideoSource], *, loop: bool = False) -> None:
        """
        Open the source.

        :param open_source: Opens it; called again for every round of a loop.
        :raises VideoSourceError: If it cannot be opened.
        """
        self._open_source, self._loop = open_source, loop
        self._source = open_source()
        self.encoding, self.name = self._source.encoding, self._source.name
        ahead = 1.0 if self._source.is_live else _AHEAD_SEC * self._source.rate_hz
        self._queue: queue.Queue[SourceFrame | BaseException | None] = queue.Queue(
            maxsize=min(_AHEAD_FRAMES, max(2, round(ahead)))
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.num_slips = 0

    def start_reading(self) -> None:
        """Read ahead already; the first frame is due when :meth:`frames` is iterated."""
        self._thread.start()

    def wait_until_ready(self, timeout_sec: float) -> None:
        """Wait until so many frames are read ahead that a slow start of the source is over."""
        end_sec = time.monotonic() + timeout_sec
        while self._thread.is_alive() and not self._queue.full() and time.monotonic() < end_sec:
            if self._stopped.wait(0.02):
                return

    def frames(self) -> Iterator[TimedFrame]:
        """
        Yield every frame when it is due.

        :raises VideoSourceError: If the source breaks.
        """
        offset_sec: float | None = 0.0 if self._source.is_live else None
        while not self._stopped.is_set():
            item = self._take()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            now_sec = time.monotonic()
            if offset_sec is None:
                offset_sec = now_sec - item.time_sec
            due_sec = offset_sec + item.time_sec
            if now_sec - due_sec > _MAX_LATE_SEC and not self._source.is_live:
                self.num_slips += 1
                offset_sec += now_sec - due_sec
                due_sec = now_sec
            if self._stopped.wait(max(0.0, due_sec - now_sec)):
                return
            yield TimedFrame(item, due_sec)

    def stop(self) -> None:
        """Make :meth:`frames` end at once; may be called from a signal handler or any thread."""
        self._stopped.set()

    def close(self) -> None:
        """
        Stop, and close the source.

        OpenCV aborts the process when a capture is released during a read. A reader that does not
        end in time therefore keeps its source; the end of the process ends both.
        """
        self.stop()
        end_sec = time.monotonic() + _END_TIMEOUT_SEC
        while self._thread.is_alive() and time.monotonic() < end_sec:
            # Again and again, as a loop may have opened its next round meanwhile.
            self._source.interrupt()
            self._thread.join(0.1)
        if not self._thread.is_alive():
            self._source.close()

    def _take(self) -> SourceFrame | BaseException | None:
        while not self._stopped.is_set():
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    return None
        return None

    def _read(self) -> None:
        try:
            start_sec = 0.0
            while True:
                end_sec = self._read_once(start_sec)
                self._source.close()
                if not self._loop or self._source.is_live or self._stopped.is_set():
                    break
                start_sec = end_sec
                self._source = self._open_source()
        # Whatever ends this thread has to reach the one that publishes.
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _read_once(self, start_sec: float) -> float:
        end_sec = start_sec
        for frame in self._source:
            time_sec = start_sec + frame.time_sec
            end_sec = time_sec + 1 / self._source.rate_hz
            if not self._put(SourceFrame(frame.pixels, time_sec, frame.truth)):
                break
        return end_sec

    def _put(self, item: SourceFrame | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
