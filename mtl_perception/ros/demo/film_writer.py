"""Encodes the demo's film."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

try:
    import av
except ImportError:
    av = None  # type: ignore[assignment]


class Writer(Protocol):
    """What takes the frames of a film, one after the other."""

    def write(self, canvas: NDArray[np.uint8]) -> None:
        """Append a frame, BGR."""

    def close(self) -> None:
        """Finish the file."""


def open_writer(path: Path, size: tuple[int, int], rate_hz: float) -> Writer:
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
