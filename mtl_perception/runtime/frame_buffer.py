"""The newest frame of a camera stream, ready for what looks at single frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mtl_perception.runtime.clip_buffer import Admission
from mtl_perception.runtime.picture import Picture
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """A frame of a stream."""

    stamp_ns: int
    frame_id: str  # the camera it comes from
    size: tuple[int, int]  # (height, width) of the original image, pixels
    received_sec: float = 0.0  # the clock reading that came with it
    pixels: Tensor | None = None  # [1, 3, h, w] as the network sees it; None where no task does
    picture: Picture | None = None  # the original image; None where nobody wants it
    sequence: int = 0  # how many frames the buffer had taken in, this one included
    generation: int = 0  # how often the stream had started anew


class FrameBuffer:
    """
    Keeps the newest frame and counts: another camera or size, or a jump back, is a new stream.

    Nothing is copied; whoever took a frame keeps it. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._newest: Frame | None = None
        self._sequence = 0
        self._generation = 0

    @property
    def newest(self) -> Frame | None:
        """Return the newest frame, or None before the first."""
        return self._newest

    def append(self, frame: Frame) -> Admission:
        """Take in a frame; its counts are set here."""
        admission = self._admit(frame)
        if admission is Admission.DUPLICATE:
            return admission
        self._sequence += 1
        self._generation += admission.is_reset
        self._newest = replace(frame, sequence=self._sequence, generation=self._generation)
        return admission

    def reset(self) -> None:
        """Forget the frame; the next starts a new stream."""
        self._newest = None
        self._generation += 1

    def _admit(self, frame: Frame) -> Admission:
        newest = self._newest
        if newest is None:
            return Admission.STORED
        if (frame.frame_id, frame.size) != (newest.frame_id, newest.size):
            return Admission.NEW_SOURCE
        if frame.stamp_ns == newest.stamp_ns:
            return Admission.DUPLICATE
        return Admission.BACKWARD if frame.stamp_ns < newest.stamp_ns else Admission.STORED
