"""Reading the frames of a video file that lie nearest to given times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
# A clip that starts later than this is reached by seeking, not by decoding all that lies before.
_SEEK_AFTER_SEC = 4.0
_SEEKABLE_FORMATS = ('matroska,webm', 'mov,mp4,m4a,3gp,3g2,mj2')
# In others (AVI, raw streams) the times are those of the coded order, or none: frames are counted.
_TIMED_FORMATS = (*_SEEKABLE_FORMATS, 'gif')


class VideoError(ValueError):
    """A file that can't be decoded; the message names the file and the reason."""


def probe_duration(path: Path) -> float:
    """
    Return the time in seconds from the first frame to the last.

    Containers declare lengths that are not true, so what counts is what decodes.

    :raises VideoError: If there is no video stream, or not a single frame can be decoded.
    """
    with closing(_open(path)) as container:
        stream = container.streams.video[0]
        frames = _timed_frames(container)
        if next(frames, None) is None:
            raise VideoError(f"'{path}' holds no frame that can be decoded.")
        if stream.duration:
            _seek(container, float(stream.duration * stream.time_base) - _SEEK_AFTER_SEC)
        last_sec = max((time_sec for time_sec, _ in frames), default=0.0)
    if last_sec > 0:
        return last_sec
    # The declared length lies beyond what decodes, or there is but one frame.
    with closing(_open(path)) as container:
        return max(time_sec for time_sec, _ in _timed_frames(container))


def read_frames(
    path: Path, times_sec: Sequence[float], convert: Callable[[Frame], Any] = lambda frame: frame
) -> list[Any]:
    """
    Return the frames nearest to given times.

    :param times_sec: Ascending, in seconds after the first frame. Times after the last frame
        that decodes give that frame.
    :param convert: What becomes of a frame (RGB, ``uint8 [H, W, 3]``) as soon as it is chosen, so
        that not all of them are in memory at full size.
    :return: One converted frame per time; a frame that serves twice is one object.
    :raises VideoError: If the file can't be opened or not a single frame can be decoded.
    """
    chosen: list[Any] = []
    before: tuple[float, Any] | None = None
    with closing(_open(path)) as container:
        _seek(container, times_sec[0] - _SEEK_AFTER_SEC)
        for time_sec, frame in _timed_frames(container):
            due = [t for t in times_sec[len(chosen) :] if t <= time_sec]
            is_earlier = [before is not None and t - before[0] < time_sec - t for t in due]
            if before is not None and any(is_earlier):
                chosen += [convert(_to_rgb(before[1]))] * sum(is_earlier)
            if not all(is_earlier):
                chosen += [convert(_to_rgb(frame))] * (len(due) - sum(is_earlier))
            before = (time_sec, frame)
            if len(chosen) == len(times_sec):
                return chosen
    if before is None:
        raise VideoError(f"'{path}' holds no frame that can be decoded.")
    return chosen + [convert(_to_rgb(before[1]))] * (len(times_sec) - len(chosen))


def _open(path: Path) -> Any:
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"'{path}' is not a video that can be decoded ({error.strerror})."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"'{path}' holds no video, only {len(container.streams)} other streams.")
    # The loaders run one process per core already.
    container.streams.video[0].thread_type = 'SLICE'
    return container


def _seek(container: Any, time_sec: float) -> None:
    stream = container.streams.video[0]
    if time_sec > 0 and stream.time_base and container.format.name in _SEEKABLE_FORMATS:
        offset = int(time_sec / stream.time_base) + (stream.start_time or 0)
        # Without an index there is no seeking: all that lies before is decoded.
        with suppress(av.FFmpegError):
            container.seek(offset, stream=stream)


def _timed_frames(container: Any) -> Iterator[tuple[float, Any]]:
    stream = container.streams.video[0]
    start_sec = float((stream.start_time or 0) * (stream.time_base or 0))
    period_sec = float(1 / stream.average_rate) if stream.average_rate else 1 / 30
    timed = container.format.name in _TIMED_FORMATS
    time_sec = -period_sec
    try:
        for frame in container.decode(stream):
            is_timed = timed and frame.time is not None
            time_sec = frame.time - start_sec if is_timed else time_sec + period_sec
            yield time_sec, frame
    except av.FFmpegError:
        # Cut off or damaged from here on; what was decoded so far is good.
        return


def _to_rgb(frame: Any) -> Frame:
    picture = frame.to_ndarray(format='rgb24')
    # Telephones film sideways and tell how to turn the picture upright.
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture
