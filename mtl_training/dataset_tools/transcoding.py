"""One clip of a data set, made into a small video that decodes fast."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import av
from mtl_training.data.decoding import (
    decode_range,
    probe,
    quarter_turns,
    upright_rgb,
    VideoError,
)
from mtl_training.data.videos.pictures import probe_pictures, read_pictures

_VERSION = 2  # of how copies are made; those of another one are made anew
_TICKS = 90_000  # per second: times of any rate are whole numbers, nearly
_KEYFRAME_SEC = 0.5  # at most so much is decoded in vain to reach a frame
_PICTURES_AT_ONCE = 32
# Of x264: what is seen is hardly worse, and what costs time to decode is left out.
_OPTIONS = {'crf': '20', 'preset': 'veryfast', 'tune': 'fastdecode'}
# A copy does not tell how its colours are coded, so they are coded as readers then assume.
_CODING = {'dst_colorspace': 'ITU601', 'dst_color_range': 'MPEG'}

TimedFrames = Iterator[tuple[float, Any]]


@dataclass(frozen=True, slots=True)
class CopyJob:
    """
    What is to be made of a clip.

    :param frames: First frame and the one after the last; ``None``: all of it.
    :param cover: Height and width that the picture must cover, with a margin; it never grows.
    :param short_side: Of the copy, in pixels, instead of ``cover``.
    :param max_rate_hz: Frames beyond this rate are left out.
    :param pictures_hz: Frames a second of a folder of pictures.
    """

    source: str
    target: str
    frames: tuple[int, int] | None
    cover: tuple[int, int]
    short_side: int | None = None
    max_rate_hz: float | None = None
    pictures_hz: float = 30.0


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a job: kept, made or failed; and what there is to tell of the source."""

    status: str
    num_bytes: int = 0
    problem: str = ''


def make_copy(job: CopyJob) -> Copied:
    """
    Make the copy of a clip, unless it is there and whole.

    At every moment the file is whole or not there under its name.

    :raises OSError: If it can't be written.
    """
    target = Path(job.target)
    try:
        mark = _mark(job)
        if is_whole(target, mark):
            return Copied('kept', target.stat().st_size)
        problem = _write(job, target, mark)
    except FileNotFoundError:
        if Path(job.source).exists():
            raise
        return Copied('failed', problem='is not there')
    except VideoError as error:
        return Copied('failed', problem=str(error))
    return Copied('made', target.stat().st_size, problem)


def is_whole(path: Path, mark: str) -> bool:
    """Tell whether a copy is there that was made of the same source in the same way."""
    if not path.is_file():
        return False
    # What was cut off has lost its index, which lies at its end.
    with suppress(av.FFmpegError), closing(av.open(str(path))) as container:
        return container.metadata.get('comment') == mark
    return False


def _mark(job: CopyJob) -> str:
    status = Path(job.source).stat()
    facts = asdict(job) | {'size': status.st_size, 'changed': status.st_mtime_ns, 'v': _VERSION}
    del facts['target']
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _write(job: CopyJob, target: Path, mark: str) -> str:
    temporary = target.with_name(f'.{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.tmp')
    damage: list[str] = []
    try:
        frames = _pictures(job, damage) if Path(job.source).is_dir() else _video(job, damage)
        _encode(_thinned(frames, job.max_rate_hz), job, temporary, mark)
        with temporary.open('rb') as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return '; '.join(dict.fromkeys(damage))


def _video(job: CopyJob, damage: list[str]) -> Generator[tuple[float, Any], None, None]:
    source = Path(job.source)
    facts = probe(source, job.frames)
    damage += [facts.problem] if facts.problem else []
    for time_sec, frame in decode_range(source, (facts.first_sec, facts.last_sec), damage.append):
        is_turned = quarter_turns(frame)
        yield time_sec, _from_rgb(upright_rgb(frame)) if is_turned else frame


def _pictures(job: CopyJob, damage: list[str]) -> Generator[tuple[float, Any], None, None]:
    source = Path(job.source)
    facts = probe_pictures(source, job.frames, job.pictures_hz)
    damage += [facts.problem] if facts.problem else []
    first = round(facts.first_sec * job.pictures_hz)
    within = range(first, first + facts.num_frames)
    for start in range(0, facts.num_frames, _PICTURES_AT_ONCE):
        places = within[start : start + _PICTURES_AT_ONCE]
        pictures = read_pictures(source, places, _from_rgb, damage.append, within=within)
        for place, frame in zip(places, pictures):
            yield place / job.pictures_hz, frame


def _from_rgb(picture: Any) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format='rgb24')


def _thinned(frames: TimedFrames, max_rate_hz: float | None) -> TimedFrames:
    """Yield the frame nearest to each tick of a rate, none twice; all of them without a rate."""
    if max_rate_hz is None:
        yield from frames
        return
    tick, start_sec = 0, None
    before: tuple[float, Any] | None = None
    last: Any = None
    for time_sec, frame in frames:
        start_sec = time_sec if start_sec is None else start_sec
        while (due_sec := start_sec + tick / max_rate_hz) <= time_sec + 1e-6:
            is_nearer = before is not None and due_sec - before[0] < time_sec - due_sec
            shown = before if is_nearer and before is not None else (time_sec, frame)
            if shown[1] is not last:
                yield shown
            last, tick = shown[1], tick + 1
        before = (time_sec, frame)


def _encode(frames: TimedFrames, job: CopyJob, path: Path, mark: str) -> None:
    pending = iter(frames)
    first = next(pending, None)
    if first is None:
        raise VideoError(f"'{job.source}' holds no frame that can be decoded.")
    second = next(pending, None)
    start_sec, frame = first
    period_sec = second[0] - start_sec if second and second[0] > start_sec else 1 / 30
    with av.open(str(path), 'w', format='mp4') as container:
        container.metadata['comment'] = mark
        rate = Fraction(1 / period_sec).limit_denominator(1001)
        stream: Any = container.add_stream('libx264', rate=rate, options=_OPTIONS)
        stream.width, stream.height = _copy_size(frame.width, frame.height, job)
        stream.pix_fmt = 'yuv420p'
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.gop_size = max(1, round(_KEYFRAME_SEC / period_sec))
        context.max_b_frames = 0
        # There is a process for every processor already.
        context.thread_count = 1
        last = -1
        for time_sec, shown in _chained(first, second, pending):
            small = shown.reformat(
                stream.width,
                stream.height,
                'yuv420p',
                interpolation='AREA',
                src_color_range=int(shown.color_range),  # PyAV before 17 does not look
                **_CODING,
            )
            last = max(last + 1, round((time_sec - start_sec) * _TICKS))
            small.pts, small.time_base = last, Fraction(1, _TICKS)
            small.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(small))
        container.mux(stream.encode())


def _chained(first: Any, second: Any, rest: TimedFrames) -> TimedFrames:
    yield first
    if second is not None:
        yield second
    yield from rest


def _copy_size(width: int, height: int, job: CopyJob) -> tuple[int, int]:
    if job.short_side is not None:
        scale = job.short_side / min(width, height)
    else:
        scale = max(job.cover[0] / height, job.cover[1] / width)
    scale = min(scale, 1.0)
    # Colours are shared by two pixels along each side.
    return tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))  # type: ignore[return-value]
