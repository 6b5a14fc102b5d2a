"""Reading the frames of a video file that lie nearest to given times."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
import math
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
# A clip that starts later than this is reached by seeking, not by decoding all that lies before.
_SEEK_AFTER_SEC = 4.0
_SEEKABLE_FORMATS = ('matroska,webm', 'mov,mp4,m4a,3gp,3g2,mj2')
# In others (AVI, raw streams) the times are those of the coded order, or none: frames are counted.
_TIMED_FORMATS = (*_SEEKABLE_FORMATS, 'gif')
# Two times are the same frame's if they differ by less.
_SAME_SEC = 1e-6


class VideoError(ValueError):
    """A file that can't be decoded; the message names the file and the reason."""


class VideoFacts(NamedTuple):
    """What decodes of a video, or of a range of its frames."""

    first_sec: float  # time of the first frame, counted from the first one of the file
    last_sec: float
    num_frames: int
    problem: str = ''  # what has to be told of it


def probe(path: Path, frames: tuple[int, int] | None = None) -> VideoFacts:
    """
    Return what decodes of a video.

    Containers declare lengths that are not true, so what counts is what decodes.

    :param frames: First frame and the one after the last; ``None``: all of them.
    :raises VideoError: If there is no video stream, not a single frame can be decoded, or none of
        the range is there.
    """
    with closing(open_video(path)) as container:
        if _first_good(container) is None:
            raise VideoError(f"'{path}' holds no frame that can be decoded.")
        declared = _declared(container)
        is_timed = container.format.name in _TIMED_FORMATS
        rate_hz = float(container.streams.video[0].average_rate or 30)
    if frames is None and is_timed:
        last_sec = _last_time(path)
        count = round(last_sec * rate_hz) + 1
        if declared not in (None, count):
            # Frames of any rate, or a false promise: the packets tell.
            count = sum(time_sec <= last_sec + _SAME_SEC for time_sec in packet_times(path))
        return VideoFacts(0.0, last_sec, count, _problem(declared, count))
    return _facts_of_range(path, packet_times(path), frames, declared)


def _facts_of_range(
    path: Path, times_sec: Sequence[float], frames: tuple[int, int] | None, declared: int | None
) -> VideoFacts:
    count = len(times_sec)
    first, end = (0, count) if frames is None else frames
    if not 0 <= first < min(end, count):
        raise VideoError(
            f"'{path}' holds {count} frames, and none of those from {first} to {end}."
        )
    problem = _problem(declared if frames is None else None, count)
    if end > count:
        problem = f'its frames from {first} to {end} end at {count}'
    end = min(end, count)
    return VideoFacts(times_sec[first], times_sec[end - 1], end - first, problem)


def _problem(declared: int | None, count: int) -> str:
    if declared not in (None, count):
        return f'declares {declared} frames and holds {count}'
    return 'holds a single frame' if count == 1 else ''


def packet_times(path: Path) -> list[float]:
    """
    Return the times of all frames by what the container says, without decoding.

    :return: Ascending, in seconds after the first frame.
    :raises VideoError: If the file can't be opened.
    """
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        packets = []
        # A file that is cut off ends here.
        with suppress(av.FFmpegError):
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    packets.append(packet.pts)
        if container.format.name not in _TIMED_FORMATS or None in packets:
            return [index * _period_sec(stream) for index in range(len(packets))]
        base, start_sec = float(stream.time_base), _start_sec(stream)
        return sorted(pts * base - start_sec for pts in packets)


def read_frames(
    path: Path,
    times_sec: Sequence[float],
    convert: Callable[[Any], Any] | None = None,
    on_damage: Callable[[str], object] = lambda text: None,
    *,
    within_sec: tuple[float, float] = (0.0, math.inf),
) -> list[Any]:
    """
    Return the frames nearest to given times.

    A frame that does not decode is left out, so that a good one beside it takes its place; and so
    are those that build on it.

    :param times_sec: Ascending, in seconds after the first frame. Times after the last frame
        that decodes give that frame.
    :param convert: What becomes of an ``av.VideoFrame`` that is chosen, :func:`upright_rgb` if it
        is not given.
    :param on_damage: Told once if a frame did not decode, or if the video ends too early.
    :param within_sec: Times of the first and the last frame that may be chosen.
    :return: One converted frame per time; a frame that serves twice is one object.
    :raises VideoError: If the file can't be opened or not a single frame can be decoded.
    """
    chosen: list[Any] = []
    before: _Shown | None = None
    frames = decode_range(path, within_sec, on_damage, from_sec=times_sec[0], to_sec=times_sec[-1])
    with closing(frames):
        for time_sec, frame in frames:
            shown = _Shown(time_sec, frame, convert or upright_rgb)
            while len(chosen) < len(times_sec) and times_sec[len(chosen)] <= time_sec:
                chosen.append(shown.nearer(before, times_sec[len(chosen)]).converted())
            before = shown
            if len(chosen) == len(times_sec):
                return chosen
    assert before is not None
    return chosen + [before.converted()] * (len(times_sec) - len(chosen))


def decode_range(
    path: Path,
    within_sec: tuple[float, float],
    on_damage: Callable[[str], object] = lambda text: None,
    *,
    from_sec: float = 0.0,
    to_sec: float | None = None,
) -> Generator[tuple[float, Any], None, None]:
    """
    Yield the frames of a range with their times, those that do not decode left out.

    :param within_sec: Times of the first and the last frame.
    :param on_damage: Told once if a frame did not decode, or if the video ends too early.
    :param from_sec: What lies more than a few seconds before need not be there.
    :param to_sec: What the video should last to, if it is before the end of the range.
    :raises VideoError: If the file can't be opened or not a single frame can be decoded.
    """
    first_sec, last_sec = within_sec
    num_bad, reached_sec = 0, -math.inf
    with closing(open_video(path)) as container:
        _seek(container, max(first_sec, from_sec) - _SEEK_AFTER_SEC)
        try:
            for time_sec, frame in _timed_frames(container):
                if time_sec > last_sec + _SAME_SEC:
                    break
                num_bad += frame is None
                if frame is not None and time_sec >= first_sec - _SAME_SEC:
                    reached_sec = time_sec
                    yield time_sec, frame
            if reached_sec < 0:
                raise VideoError(f"'{path}' holds no frame that can be decoded.")
        finally:
            wanted_sec = last_sec if to_sec is None else to_sec
            half_sec = _period_sec(container.streams.video[0]) / 2
            if reached_sec >= 0 and num_bad:
                on_damage(f'{num_bad} of its frames do not decode')
            elif reached_sec >= 0 and wanted_sec - reached_sec > half_sec:
                on_damage(f'it ends at {reached_sec:.2f} s, not at {wanted_sec:.2f} s')


def upright_rgb(frame: Any) -> Frame:
    """Return a frame as it is to be seen, RGB, ``uint8 [H, W, 3]``."""
    return upright(frame.to_ndarray(format='rgb24'), frame)


def upright(picture: Frame, frame: Any) -> Frame:
    """Turn the picture of a frame: telephones film sideways and tell how."""
    quarters = quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def quarter_turns(frame: Any) -> int:
    """Return by how many quarters a frame has to be turned to be upright."""
    return round(frame.rotation / 90) % 4


class _Shown:
    """A decoded frame, converted when it is needed and no more than once."""

    def __init__(self, time_sec: float, frame: Any, convert: Callable[[Any], Any]) -> None:
        self.time_sec = time_sec
        self._frame, self._convert = frame, convert
        self._converted: Any = None

    def nearer(self, before: _Shown | None, time_sec: float) -> _Shown:
        if before is not None and time_sec - before.time_sec < self.time_sec - time_sec:
            return before
        return self

    def converted(self) -> Any:
        if self._frame is not None:
            self._converted, self._frame = self._convert(self._frame), None
        return self._converted


def open_video(path: Path) -> Any:
    """
    Return an open container whose first video stream can be decoded.

    :raises VideoError: If there is none.
    """
    try:
        # Titles and comments are of no use here, in whatever encoding they are.
        container = av.open(str(path), metadata_errors='replace')
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"'{path}' is not a video that can be decoded ({error.strerror})."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"'{path}' holds no video, only {len(container.streams)} other streams.")
    context = container.streams.video[0].codec_context
    if context is None:
        container.close()
        raise VideoError(f"'{path}' holds a video of a codec that is unknown here.")
    # The loaders run one process per core already.
    context.thread_count = 1
    return container


def _declared(container: Any) -> int | None:
    """Return how many frames a container promises, if it does."""
    stream = container.streams.video[0]
    if stream.frames:
        return int(stream.frames)
    # With sound, the length may be that of the sound.
    if container.format.name not in _SEEKABLE_FORMATS or len(container.streams) > 1:
        return None
    if not container.duration or not stream.average_rate:
        return None
    return round(container.duration / av.time_base * float(stream.average_rate))


def _first_good(container: Any) -> Any:
    return next((frame for _, frame in _timed_frames(container) if frame is not None), None)


def _last_time(path: Path) -> float:
    """Return the time of the last frame that decodes, of a file that has one."""
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        if stream.duration:
            _seek(container, float(stream.duration * stream.time_base) - _SEEK_AFTER_SEC)
        last_sec = max((t for t, frame in _timed_frames(container) if frame), default=0.0)
    if last_sec > 0:
        return last_sec
    # The declared length lies beyond what decodes, or there is but one frame.
    with closing(open_video(path)) as container:
        return max(time_sec for time_sec, frame in _timed_frames(container) if frame)


def _seek(container: Any, time_sec: float) -> None:
    stream = container.streams.video[0]
    if time_sec > 0 and stream.time_base and container.format.name in _SEEKABLE_FORMATS:
        offset = int(time_sec / stream.time_base) + (stream.start_time or 0)
        # Without an index there is no seeking: all that lies before is decoded.
        with suppress(av.FFmpegError):
            container.seek(offset, stream=stream)


def _start_sec(stream: Any) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _period_sec(stream: Any) -> float:
    return float(1 / stream.average_rate) if stream.average_rate else 1 / 30


def _timed_frames(container: Any) -> Iterator[tuple[float, Any]]:
    """Yield the frames with their times; ``None`` in the place of one that does not decode."""
    stream = container.streams.video[0]
    start_sec, period_sec = _start_sec(stream), _period_sec(stream)
    timed = container.format.name in _TIMED_FORMATS
    time_sec = -period_sec
    for index, frame in enumerate(_frames(container, stream)):
        is_timed = timed and frame is not None and frame.time is not None
        time_sec = frame.time - start_sec if is_timed else time_sec + period_sec
        yield (time_sec if timed else index * period_sec), frame


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    is_broken = False
    # What the file lacks at its end can't be read any more.
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            for frame in _decoded(packet):
                # What refers to a frame that is damaged is damaged, up to one that stands alone.
                is_bad = frame is None or frame.is_corrupt
                is_broken = is_bad or (is_broken and not frame.key_frame)
                yield None if is_broken else frame


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return [None]
