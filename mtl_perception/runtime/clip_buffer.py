"""The newest seconds of a camera stream, ready to be gathered into a clip."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import threading
from typing import Any

from mtl_perception.network.clips import clip_times
import numpy as np
import torch
from torch import Tensor

# Frames kept for each frame of a clip: the nearest frame is then within 1/16 of the clip's
# frame interval of the time asked for, however fast the camera is.
OVERSAMPLING = 8


class Admission(Enum):
    """What became of a frame given to the buffer."""

    STORED = 'stored'
    THINNED = 'thinned'  # stored in place of the one before it: the camera is faster than needed
    DUPLICATE = 'duplicate_stamp'  # skipped: its stamp is that of the newest frame
    BACKWARD = 'backward_stamp'  # stored as the first frame of a new clip, as are the next two
    GAP = 'gap'
    NEW_SOURCE = 'new_source'

    @property
    def is_reset(self) -> bool:
        """Return whether the frames before this one were forgotten."""
        return self in (Admission.BACKWARD, Admission.GAP, Admission.NEW_SOURCE)


@dataclass(frozen=True)
class Clip:
    """A snapshot of the buffer."""

    frames: Tensor  # [1, 3, T, H, W]; the buffer's own memory, valid until its next snapshot
    stamps_ns: np.ndarray  # int64 [T], never decreasing
    source: Any  # what all its frames were said to come from
    sequence: int  # how many frames the buffer had taken in, this clip's newest included
    generation: int  # how often the buffer had been reset
    received_sec: float  # the clock reading that came with the newest frame
    num_distinct: int  # different frames among the T: fewer than T when the camera is slow


class ClipBuffer:
    """
    A ring of frames on the device, from which clips of a fixed duration are gathered.

    A clip is ``T`` frames: those stamped nearest to ``T`` evenly spaced times over
    ``clip_seconds``, ending at the newest frame, so it does not depend on the camera's rate. The
    buffer is not ready until its frames cover the clip, and never repeats a frame to fill a start
    that has not been seen. One thread may append while another takes snapshots.

    :param num_frames: ``T``.
    :param clip_seconds: Time from a clip's first frame to its last.
    :param size: (height, width) of the frames.
    :param max_gap_sec: Frames further apart than this do not belong to one clip.
    """

    def __init__(
        self,
        num_frames: int,
        clip_seconds: float,
        size: tuple[int, int],
        *,
        max_gap_sec: float = 1.0,
        device: torch.device | str = 'cpu',
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # Integer nanoseconds throughout: seconds since 1970 as a double are good to 240 ns only.
        times = np.asarray(clip_times(0.0, clip_seconds, num_frames))
        self._offsets_ns = np.rint(times * 1e9).astype(np.int64)
        self._max_gap_ns = round(max_gap_sec * 1e9)
        self._capacity = OVERSAMPLING * num_frames + 4
        # The newest frame is always kept, so only the others need be this far apart.
        self._min_spacing_ns = -(int(self._offsets_ns[0]) // (self._capacity - 4))
        self._ring = torch.zeros((3, self._capacity, *size), device=device, dtype=dtype)
        self._clip = torch.empty((3, num_frames, *size), device=device, dtype=dtype)
        self._stamps_ns = np.zeros(self._capacity, dtype=np.int64)
        self._lock = threading.Lock()
        self._newest = -1  # slot of the newest frame
        self._count = 0
        self._source: Any = None
        self._received_sec = 0.0
        self._sequence = 0
        self._generation = 0

    @property
    def capacity(self) -> int:
        """Return how many frames the ring holds."""
        return self._capacity

    @property
    def span_sec(self) -> float:
        """Return the time from the oldest frame to the newest."""
        with self._lock:
            return self._span_ns() * 1e-9

    def reset(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._forget()

    def append(
        self, frame: Tensor, stamp_ns: int, *, source: Any = None, received_sec: float = 0.0
    ) -> Admission:
        """
        Take in a preprocessed frame.

        :param frame: ``[3, H, W]``, on any device.
        :param stamp_ns: When it was acquired.
        :param source: What it comes from (camera frame, original size): a change resets.
        :param received_sec: Passed on to the clip whose newest frame this is.
        """
        with self._lock:
            admission = self._admit(stamp_ns, source)
            if admission is Admission.DUPLICATE:
                return admission
            if admission.is_reset:
                self._forget()
            if admission is not Admission.THINNED:
                self._newest = (self._newest + 1) % self._capacity
                self._count = min(self._count + 1, self._capacity)
            self._ring[:, self._newest].copy_(frame)
            self._stamps_ns[self._newest] = stamp_ns
            self._source, self._received_sec = source, received_sec
            self._sequence += 1
            return admission

    def snapshot(self, *, newer_than: int = -1) -> Clip | None:
        """
        Gather the clip that ends at the newest frame.

        :param newer_than: The ``sequence`` of a clip already seen.
        :return: None while the frames do not cover a clip, or when none is newer.
        """
        with self._lock:
            if self._sequence <= newer_than or not self._is_ready():
                return None
            slots = self._slots()
            stamps_ns = self._stamps_ns[slots]
            chosen = _nearest(stamps_ns, stamps_ns[-1] + self._offsets_ns)
            index = torch.from_numpy(slots[chosen]).to(self._ring.device)
            torch.index_select(self._ring, 1, index, out=self._clip)
            return Clip(
                frames=self._clip.unsqueeze(0),
                stamps_ns=stamps_ns[chosen],
                source=self._source,
                sequence=self._sequence,
                generation=self._generation,
                received_sec=self._received_sec,
                num_distinct=len(np.unique(chosen)),
            )

    def _admit(self, stamp_ns: int, source: Any) -> Admission:
        if self._count == 0:
            return Admission.STORED
        if source != self._source:
            return Admission.NEW_SOURCE
        since_newest = stamp_ns - int(self._stamps_ns[self._newest])
        if since_newest == 0:
            return Admission.DUPLICATE
        if since_newest < 0:
            return Admission.BACKWARD
        if since_newest > self._max_gap_ns:
            return Admission.GAP
        if self._count > 1:
            spacing = self._stamps_ns[self._newest] - self._stamps_ns[self._newest - 1]
            if spacing < self._min_spacing_ns:
                return Admission.THINNED
        return Admission.STORED

    def _is_ready(self) -> bool:
        if self._count == 0:
            return False
        # Half a period may be missing: a frame from before the oldest would be no nearer to the
        # clip's start than the oldest is.
        span_ns = self._span_ns()
        half_period_ns = span_ns // (2 * max(self._count - 1, 1))
        return span_ns + half_period_ns >= -int(self._offsets_ns[0])

    def _slots(self) -> np.ndarray:
        return np.arange(self._newest - self._count + 1, self._newest + 1) % self._capacity

    def _span_ns(self) -> int:
        if self._count == 0:
            return 0
        oldest = (self._newest - self._count + 1) % self._capacity
        return int(self._stamps_ns[self._newest]) - int(self._stamps_ns[oldest])

    def _forget(self) -> None:
        self._newest, self._count = -1, 0
        self._generation += 1


def _nearest(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return, for each time, the index of the nearest of the increasing stamps."""
    right = np.searchsorted(stamps, times).clip(max=len(stamps) - 1)
    left = (right - 1).clip(min=0)
    is_left = np.abs(times - stamps[left]) <= np.abs(stamps[right] - times)
    return np.where(is_left, left, right)
