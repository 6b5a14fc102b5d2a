"""The demo's film: every image with what is true and what was recognised when it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
import logging
from pathlib import Path
import queue
import threading
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

try:
    import av
except ImportError:
    av = None  # type: ignore[assignment]

PICTURE_SIZE = (480, 640)
_PANEL_WIDTH = 340
_BACKGROUND = (34, 30, 28)  # colours are BGR
_TEXT, _DIM, _TRACK = (240, 240, 240), (150, 145, 140), (66, 60, 56)
_HIT, _MISS, _NEUTRAL = (96, 200, 80), (80, 80, 235), (230, 170, 70)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_NUM_BARS = 3
# Images that wait to be drawn; beyond that the film leaves images out, not the demo.
_QUEUE_LENGTH = 200
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskView:
    """What the film shows of one task."""

    name: str
    truth: str  # '' = the scene does not speak of this task, or nothing is known
    bars: tuple[tuple[str, float], ...]  # classes and scores, best first
    is_settled: bool  # the clip lies wholly in the scene


@dataclass(frozen=True)
class View:
    """What the film shows beside an image."""

    title: str
    time_sec: float
    tasks: tuple[TaskView, ...]
    footer: str


class Film:
    """Draws and encodes in a thread of its own."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path, self.num_skipped = path, 0
        self._writer: _Writer | None = None
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


def draw(pixels: NDArray[np.uint8], is_rgb: bool, view: View) -> NDArray[np.uint8]:
    """
    Return the image with a panel beside it.

    :param pixels: ``[H, W, 3]`` uint8, at most as large as ``PICTURE_SIZE``.
    :return: BGR, of the same size for every image.
    """
    height, width = PICTURE_SIZE
    canvas = np.full((height, width + _PANEL_WIDTH, 3), _BACKGROUND, np.uint8)
    canvas[:, :width] = 0
    picture = fitted(pixels[..., ::-1] if is_rgb else pixels)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    x, y = width + 20, 38
    _put(canvas, view.title, (x, y), 0.62, _TEXT)
    _put(canvas, f'{view.time_sec:.1f} s', (x + 240, y), 0.5, _DIM)
    y += 22
    for task in view.tasks[:2]:
        y = _draw_task(canvas, task, (x, y))
    for offset, line in enumerate(reversed(view.footer.splitlines())):
        _put(canvas, line, (x, height - 18 - 22 * offset), 0.42, _DIM)
    return canvas


def shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of an image, no larger than the picture in the film."""
    scale = _scale(pixels)
    if scale >= 1:
        return pixels.copy()
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image enlarged to the picture in the film."""
    scale = _scale(pixels)
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _scale(pixels: NDArray[np.uint8]) -> float:
    return min(PICTURE_SIZE[0] / pixels.shape[0], PICTURE_SIZE[1] / pixels.shape[1])


def _draw_task(canvas: NDArray[np.uint8], task: TaskView, corner: tuple[int, int]) -> int:
    x, y = corner
    y += 28
    _put(canvas, task.name.upper(), (x, y), 0.5, _DIM)
    y += 26
    if task.truth:
        _put(canvas, f'truth: {task.truth}', (x, y), 0.56, _TEXT)
        y += 14
    for index in range(_NUM_BARS):
        if index < len(task.bars):
            label, score = task.bars[index]
            _draw_bar(canvas, (x, y + 8), label, score, _colour(task, label))
        y += 40
    return y


def _colour(task: TaskView, label: str) -> tuple[int, int, int]:
    if not task.is_settled:
        return _DIM
    if not task.truth:
        return _NEUTRAL
    if label == task.truth:
        return _HIT
    return _MISS if label == task.bars[0][0] else _DIM


def _draw_bar(
    canvas: NDArray[np.uint8],
    corner: tuple[int, int],
    label: str,
    score: float,
    colour: tuple[int, int, int],
) -> None:
    x, y = corner
    width = _PANEL_WIDTH - 40
    _put(canvas, label, (x, y + 12), 0.46, _TEXT)
    _put(canvas, f'{score:.2f}', (x + width - 36, y + 12), 0.46, _TEXT)
    cv2.rectangle(canvas, (x, y + 18), (x + width, y + 26), _TRACK, cv2.FILLED)
    end = x + round(width * min(max(score, 0.0), 1.0))
    cv2.rectangle(canvas, (x, y + 18), (end, y + 26), colour, cv2.FILLED)


def _put(
    canvas: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    scale: float,
    colour: Sequence[int],
) -> None:
    cv2.putText(canvas, text, corner, _FONT, scale, tuple(colour), 1, cv2.LINE_AA)


class _Writer(Protocol):
    def write(self, canvas: NDArray[np.uint8]) -> None: ...

    def close(self) -> None: ...


def open_writer(path: Path, size: tuple[int, int], rate_hz: float) -> _Writer:
    """
    Open a film: H.264 where PyAV is installed, else OpenCV's MPEG-4.

    :raises OSError: If it cannot be written.
    """
    if av is not None and 'libx264' in av.codecs_available:
        return _H264Writer(path, size, rate_hz)
    return _OpenCvWriter(path, size, rate_hz)


class _H264Writer:
    def __init__(self, path: Path, size: tuple[int, int], rate_hz: float) -> None:
        self._container = av.open(str(path), 'w')
        # The nodes need the processor more than the film needs to be small.
        options = {'preset': 'ultrafast', 'crf': '23', 'tune': 'animation', 'threads': '1'}
        self._stream = self._container.add_stream(
            'libx264', Fraction(rate_hz).limit_denominator(1001), options=options
        )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = 'yuv420p'

    def write(self, canvas: NDArray[np.uint8]) -> None:
        frame = av.VideoFrame.from_ndarray(canvas, format='bgr24')
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _OpenCvWriter:
    def __init__(self, path: Path, size: tuple[int, int], rate_hz: float) -> None:
        code = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(path), code, rate_hz, size[::-1])
        if not self._writer.isOpened():
            raise OSError(f'{path} cannot be written by OpenCV.')

    def write(self, canvas: NDArray[np.uint8]) -> None:
        self._writer.write(canvas)

    def close(self) -> None:
        self._writer.release()
