"""The demo's film: every image with what is true and what was recognised when it came."""

from __future__ import annotations

import logging
from pathlib import Path
import queue
import threading

import cv2
from mtl_perception.ros.demo.film_frame import draw, shrunk, View
from mtl_perception.ros.demo.film_writer import open_writer, Writer
import numpy as np
from numpy.typing import NDArray

# Images that wait to be drawn; beyond that the film leaves images out, not the demo.
_QUEUE_LENGTH = 200
_LOGGER = logging.getLogger(__name__)


class Film:
    """Draws and encodes in a thread of its own."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path, self.num_skipped = path, 0
        self._writer: Writer | None = None
        self._rate_hz = rate_hz
        self._queue: queue.Queue[tuple[NDArray[np.uint8], bool, View] | None] = queue.Queue(
            _QUEUE_LENGTH
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, pixels: NDArray[np.uint8], is_rgb: bool, view: View) -> None:
        """Append an image; the pixels are copied."""
        try:
            self._queue.put_nowait((shrunk(pixels), is_rgb, view))
        except queue.Full:
            self.num_skipped += 1

    def close(self) -> None:
        """Finish the file."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                canvas = draw(*item)
                if self._writer is None:
                    self._writer = open_writer(self.path, canvas.shape[:2], self._rate_hz)
                self._writer.write(canvas)
        # A film that cannot be written must not end the demo.
        except (OSError, ValueError, cv2.error) as error:
            _LOGGER.warning('%s: the film ends here: %s', self.path, error)
        finally:
            if self._writer is not None:
                self._writer.close()
