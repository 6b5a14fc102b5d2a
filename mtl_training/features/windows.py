"""Which frames of a video become which window: any frame rate gives the same windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar('T')
_SAME_SEC = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """
    How a video is cut; window ``i`` is of the frames ``[i * stride, i * stride + frames)``.

    :param frames: Of a window.
    :param stride: Frames from the start of one window to that of the next.
    :param rate_hz: Frames a second that a video is brought to, by its time stamps.
    :param sampled: Frames of a window that the network sees, spread evenly over it.
    :raises ValueError: If one of them is out of range.
    """

    frames: int = 32
    stride: int = 16
    rate_hz: float = 30.0
    sampled: int = 32

    def __post_init__(self) -> None:
        for name in ('frames', 'stride', 'sampled'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} of a window must be at least 1, got {self!r}.')
        # Written so that NaN is refused too.
        if not 0 < self.rate_hz < float('inf'):
            raise ValueError(f'rate_hz must be positive and finite, got {self.rate_hz}.')

    def count(self, num_frames: int) -> int:
        """Return how many windows there are in a video of so many frames at ``rate_hz``."""
        if num_frames <= self.frames:
            return 1
        return 1 - (self.frames - num_frames) // self.stride


def resampled(frames: Iterable[tuple[float, T]], rate_hz: float, period_sec: float) -> Iterator[T]:
    """
    Yield the frames nearest to the times 0, 1 / rate, 2 / rate, ... of a video, in one pass.

    Of two frames at the same distance it is the later one. A video of ``n`` frames lasts ``n``
    periods: as long as its last frame is shown, that one is repeated.

    :param frames: Ascending times in seconds, the first of them about 0, and frames.
    :param period_sec: From one frame of the video to the next, on average.
    """
    before: tuple[float, T] | None = None
    num_yielded = 0
    for time_sec, frame in frames:
        while num_yielded / rate_hz <= time_sec + _SAME_SEC:
            wanted_sec = num_yielded / rate_hz
            is_before = before is not None and wanted_sec - before[0] < time_sec - wanted_sec
            yield before[1] if is_before and before is not None else frame
            num_yielded += 1
        before = (time_sec, frame)
    if before is not None:
        for _ in range(num_yielded, round((before[0] + period_sec) * rate_hz)):
            yield before[1]


def windows(frames: Iterable[T], config: WindowConfig) -> Iterator[list[T]]:
    """
    Yield the frames that the network sees of each window, with one window in memory.

    The last one ends with the video: where the windows do not end there, it begins earlier than
    its row says. A video that is shorter than a window gives one, of all its frames.

    :param frames: At the rate of the windows.
    """
    held: deque[T] = deque(maxlen=config.frames)
    count = 0
    for frame in frames:
        held.append(frame)
        count += 1
        if count >= config.frames and (count - config.frames) % config.stride == 0:
            yield _sampled(held, config.sampled)
    if count and (count < config.frames or (count - config.frames) % config.stride):
        yield _sampled(held, config.sampled)


def _sampled(held: Sequence[T], count: int) -> list[T]:
    """Return frames spread evenly over a window, both ends included; of one the newest."""
    last = len(held) - 1
    if count == 1:
        return [held[last]]
    # The nearest whole number to i * last / (count - 1), of two the later one.
    return [held[(2 * i * last + count - 1) // (2 * (count - 1))] for i in range(count)]
