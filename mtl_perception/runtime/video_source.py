"""
Where frames come from: a video file, a folder of images, a camera or a network stream.

Every source is iterated once, yields :class:`SourceFrame` and is closed with ``close()`` or as a
context manager. Rendered scenes are in :mod:`mtl_perception.runtime.scene_stream`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import logging
import math
from pathlib import Path
import re
import time
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset(
    ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
)
DEFAULT_RATE_HZ = 30.0
# Containers without a real rate report their clock instead, e.g. 90000.
_MAX_RATE_HZ = 1000.0
# A longer step between two frames is a broken time stamp, not a slow video.
_MAX_STEP_SEC = 10.0
# A camera that misses so many frames in a row has been unplugged.
_MAX_MISSED_READS = 10
_LOGGER = logging.getLogger(__name__)


class VideoSourceError(ValueError):
    """A source that cannot be opened or read; the message names the source and the reason."""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame of a source."""

    pixels: NDArray[np.uint8]  # [H, W, 3], channels in the order of the source's encoding
    time_sec: float  # since the first frame; of live sources, the time.monotonic() of the capture
    truth: Mapping[str, Any] | None = None  # what is known to be shown, for rendered scenes


class VideoSource(ABC):
    """A sequence of frames that can be iterated once."""

    encoding = 'bgr8'
    is_live = False  # frames come when they are captured, not when somebody reads them

    def __init__(self, name: str, *, rate_hz: float) -> None:
        self.name = name
        self.rate_hz = rate_hz

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Yield the frames in the order of their times."""

    @abstractmethod
    def close(self) -> None:
        """Release what the source holds; may be called twice, but not while a frame is read."""

    def interrupt(self) -> None:  # noqa: B027  most sources cannot be interrupted
        """End a read in another thread, where that is possible; may be called at any time."""

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class VideoFile(VideoSource):
    """A video file, at the time stamps it holds or at another rate."""

    def __init__(self, path: Path, *, rate_hz: float | None = None) -> None:
        if not path.is_file():
            raise VideoSourceError(f'{path}: no such file.')
        self._capture = _open_capture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            size = path.stat().st_size
            raise VideoSourceError(
                f'{path}: not a video that can be decoded ({size} bytes); '
                'it may be damaged, incomplete or of another kind.'
            )
        # Phones store upright videos lying, with a flag.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        native_hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._overridden = rate_hz is not None
        if rate_hz is None:
            rate_hz = native_hz if 0 < native_hz <= _MAX_RATE_HZ else DEFAULT_RATE_HZ
        super().__init__(str(path), rate_hz=rate_hz)

    def __iter__(self) -> Iterator[SourceFrame]:
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        first_sec: float | None = None
        time_sec, count = 0.0, 0
        while True:
            is_read, pixels = self._capture.read()
            if not is_read:
                break
            stamp_sec = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if first_sec is None:
                first_sec = stamp_sec
            else:
                time_sec = self._next_time(time_sec, stamp_sec - first_sec, count)
            count += 1
            yield SourceFrame(_to_bgr(pixels), time_sec)
        self._report_end(count, promised)

    def close(self) -> None:
        self._capture.release()

    def _next_time(self, last_sec: float, stamp_sec: float, count: int) -> float:
        if self._overridden:
            return count / self.rate_hz
        # Some containers have no stamps (all zero) or broken ones: the nominal rate fills in.
        if not last_sec < stamp_sec <= last_sec + _MAX_STEP_SEC:
            return last_sec + 1 / self.rate_hz
        return stamp_sec

    def _report_end(self, count: int, promised: float) -> None:
        if count == 0:
            raise VideoSourceError(f'{self.name}: holds no frame that can be decoded.')
        # Containers without a frame table estimate the count, hence the margin.
        if math.isfinite(promised) and count < 0.95 * promised - 2:
            _LOGGER.warning(
                '%s ended after %d frames although its header promises %d: it is cut off or '
                'damaged.', self.name, count, int(promised)
            )  # fmt: skip


class ImageFolder(VideoSource):
    """The images of a folder, in the natural order of their names (2 before 10)."""

    def __init__(self, folder: Path, *, rate_hz: float | None = None) -> None:
        super().__init__(str(folder), rate_hz=rate_hz or DEFAULT_RATE_HZ)
        if not folder.is_dir():
            raise VideoSourceError(f'{folder}: no such folder.')
        self._paths = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES),
            key=_natural_key,
        )
        if not self._paths:
            known = ' '.join(sorted(IMAGE_SUFFIXES))
            raise VideoSourceError(f'{folder}: holds no image ({known}).')

    def __iter__(self) -> Iterator[SourceFrame]:
        count = 0
        for path in self._paths:
            pixels = _read_image(path)
            if pixels is None:
                _LOGGER.warning('%s cannot be read as an image: skipped.', path)
                continue
            yield SourceFrame(pixels, count / self.rate_hz)
            count += 1
        if count == 0:
            raise VideoSourceError(
                f'{self.name}: none of its {len(self._paths)} images can be read.'
            )

    def close(self) -> None:
        """Images are open only while they are read."""


class LiveVideo(VideoSource):
    """A camera (index or ``/dev/video*``) or a network stream; ends when it stops delivering."""

    is_live = True

    def __init__(
        self,
        device: int | str,
        *,
        rate_hz: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        is_camera = not (isinstance(device, str) and '://' in device)
        name = f'camera {device}' if is_camera else str(device)
        self._capture = _open_capture(device, cv2.CAP_V4L2 if is_camera else cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoSourceError(
                f'{name}: cannot be opened; is it connected, free and permitted to this user?'
                if is_camera
                else f'{name}: cannot be opened as a stream.'
            )
        if size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
        if rate_hz is not None:
            self._capture.set(cv2.CAP_PROP_FPS, rate_hz)
        self._is_camera = is_camera
        native_hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        is_plausible = 0 < native_hz <= _MAX_RATE_HZ
        super().__init__(name, rate_hz=native_hz if is_plausible else DEFAULT_RATE_HZ)

    def __iter__(self) -> Iterator[SourceFrame]:
        missed = 0
        while missed < _MAX_MISSED_READS:
            is_read, pixels = self._capture.read()
            if not is_read:
                missed += 1
                time.sleep(1 / self.rate_hz)
                continue
            missed = 0
            yield SourceFrame(_to_bgr(pixels), self._captured_sec())
        raise VideoSourceError(f'{self.name}: stopped delivering frames.')

    def close(self) -> None:
        self._capture.release()

    def _captured_sec(self) -> float:
        now_sec = time.monotonic()
        if not self._is_camera:
            return now_sec
        # Video4Linux stamps the capture with the clock that time.monotonic() reads.
        kernel_sec = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        return kernel_sec if 0 <= now_sec - kernel_sec < 1 else now_sec


def open_video(
    name: str, *, rate_hz: float | None = None, size: tuple[int, int] | None = None
) -> VideoSource:
    """
    Open a video file, a folder of images, a camera or a network stream by its name.

    :param name: A path, a camera index, ``/dev/video*``, or a URL such as ``rtsp://...``.
    :param rate_hz: Frames per second instead of the source's own rate.
    :param size: (height, width) asked of a camera; other sources keep theirs.
    :raises VideoSourceError: If there is no such source or it cannot be decoded.
    """
    if rate_hz is not None and not 0 < rate_hz <= _MAX_RATE_HZ:
        raise ValueError(f'rate_hz must be above 0 and at most {_MAX_RATE_HZ:g}, got {rate_hz}.')
    if name.isdecimal():
        return LiveVideo(int(name), rate_hz=rate_hz, size=size)
    if name.startswith('/dev/video') or '://' in name:
        return LiveVideo(name, rate_hz=rate_hz, size=size)
    path = Path(name).expanduser()
    if path.is_dir():
        return ImageFolder(path, rate_hz=rate_hz)
    return VideoFile(path, rate_hz=rate_hz)


def _open_capture(device: int | str, backend: int) -> cv2.VideoCapture:
    # OpenCV and FFmpeg print pages about files that they cannot read; our error says it in a line.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(device, backend)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _to_bgr(pixels: Any) -> NDArray[np.uint8]:
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    return np.repeat(grey[..., None], 3, axis=2)


def _read_image(path: Path) -> NDArray[np.uint8] | None:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if data.size == 0:
        return None
    try:
        # Unlike imread, imdecode is silent about what it cannot read.
        return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]
    except cv2.error:
        return None


def _natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r'(\d+)', path.name.lower())
    # Numbers sort before letters and among themselves by value.
    keys = [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts if part]
    return keys, path.name
