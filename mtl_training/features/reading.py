"""From a video to its windows, one after the other, decoded once and never whole in memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mtl_training.data.decoding import Frame, probe, VideoError, VideoFacts
from mtl_training.data.videos.pictures import probe_pictures, shows_pictures
from mtl_training.data.videos.probing import Prober
from mtl_training.data.videos.reading import ClipReader
from mtl_training.features.sources import Source
from mtl_training.features.windows import resampled, WindowConfig, windows
import numpy as np


class Window(NamedTuple):
    """What the network sees of one window."""

    frames: Frame  # uint8 [T, h, w, 3]
    share: float  # of the video that lies before its end


class VideoEnd(NamedTuple):
    """What is known of a video when all its windows have come."""

    num_frames: int  # at the rate of the windows
    problem: str = ''  # what was damaged, and repaired
    failure: str = ''  # why there are no windows


@dataclass(frozen=True, slots=True)
class WindowReader:
    """
    Yield the windows of a video, then its end.

    :param config: How it is cut.
    :param size: (height, width) of the frames.
    :param fit: How a video of another aspect ratio meets ``size``: crop, pad or stretch.
    """

    config: WindowConfig
    size: tuple[int, int]
    fit: str

    def __call__(self, source: Source) -> Iterator[Window | VideoEnd]:
        """Yield the windows of a video, then its end; what can't be read has no windows."""
        damage: list[str] = []
        try:
            yield (yield from self._windows(source, damage))
        except VideoError as error:
            yield VideoEnd(0, failure=str(error).removeprefix(f"'{source.entry.path}' "))
        except OSError as error:
            yield VideoEnd(0, failure=f'cannot be read: {error.strerror}')

    def _windows(self, source: Source, damage: list[str]) -> Generator[Window, None, VideoEnd]:
        facts = _facts(source)
        damage += [facts.problem] * bool(facts.problem)
        period_sec = (facts.last_sec - facts.first_sec) / max(1, facts.num_frames - 1)
        period_sec = period_sec or 1 / self.config.rate_hz
        expected = max(1.0, facts.num_frames * period_sec * self.config.rate_hz)
        reader = ClipReader(self.size, self.fit, source.rate_hz, Prober(source.rate_hz), None)
        frames = (
            (time_sec - facts.first_sec, frame)
            for time_sec, frame in reader.decoded(source.entry, facts, damage)
        )
        counted = _Counted(resampled(frames, self.config.rate_hz, period_sec))
        for window in windows(counted, self.config):
            yield Window(np.stack(window), min(1.0, counted.count / expected))
        return VideoEnd(counted.count, '; '.join(dict.fromkeys(damage)))


class _Counted:
    """Frames, and how many of them there were."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.count += 1
            yield frame


def _facts(source: Source) -> VideoFacts:
    path, frames = source.entry.path, source.entry.frames
    if shows_pictures(path):
        return probe_pictures(path, frames, source.rate_hz)
    return probe(path, frames)
