"""One file of a data set, decoded from its first frame to its last."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
import hashlib
import math
from pathlib import Path
import re

import av
import av.logging
from mtl_training.data.decoding import decode_range, open_video, probe, VideoError
from mtl_training.data.videos.pictures import is_picture, list_pictures
from PIL import Image

_BLOCK = 2**20
# What is logged though nothing is wrong with what is seen.
_HARMLESS = ('deprecated pixel format', 'Could not find codec parameters')


@dataclass(slots=True)
class FileFacts:
    """
    What a file holds.

    :param problems: (kind, detail) of each; the kinds are those of
        :data:`mtl_training.dataset_tools.checking.KINDS`.
    """

    path: str
    digest: str = ''
    num_bytes: int = 0
    num_frames: int = 0  # that decode
    size: tuple[int, int] | None = None  # width and height in pixels, as they are stored
    rate_hz: float | None = None
    duration_sec: float | None = None  # from the first frame to the end of the last
    problems: list[tuple[str, str]] = field(default_factory=list)


def inspect_file(path: Path) -> FileFacts:
    """Decode all of a video, a folder of pictures or a picture, and tell what is wrong with it."""
    facts = FileFacts(str(path))
    try:
        if path.is_dir():
            _inspect_pictures(facts, list_pictures(path))
            return facts
        facts.digest, facts.num_bytes = _digest([path])
        if is_picture(path.name):
            _inspect_pictures(facts, [path])
        else:
            _inspect_video(facts, path)
    except FileNotFoundError:
        facts.problems = [('missing', 'is not there')]
    except (OSError, VideoError) as error:
        facts.problems = [('unreadable', _reason(error))]
    return facts


def _inspect_video(facts: FileFacts, path: Path) -> None:
    known = probe(path)
    facts.size, facts.rate_hz = _stream_facts(path)
    damage: list[str] = []
    last_sec = 0.0
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as logged:
            for time_sec, _ in decode_range(path, (0.0, math.inf), damage.append, to_sec=0.0):
                facts.num_frames += 1
                last_sec = max(last_sec, time_sec)
    finally:
        av.logging.set_level(None)
    facts.duration_sec = last_sec + (1 / facts.rate_hz if facts.rate_hz else 0.0)
    # Decoders conceal most damage, and say so.
    damage += [text.strip() for _, _, text in logged if not text.startswith(_HARMLESS)][:1]
    if damage:
        facts.problems.append(('damaged', '; '.join(damage)))
    if known.problem.startswith('declares'):
        declared, held = map(int, re.findall('[0-9]+', known.problem))
        kind = 'off_by_one' if abs(declared - held) == 1 else 'frame_count'
        facts.problems.append((kind, known.problem))
    elif not damage and facts.num_frames != known.num_frames:
        counts = f'holds {known.num_frames} frames, of which {facts.num_frames} decode'
        facts.problems.append(('frame_count', counts))
    if facts.num_frames == 1:
        facts.problems.append(('one_frame', 'holds a single frame'))


def _stream_facts(path: Path) -> tuple[tuple[int, int], float | None]:
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return (stream.width, stream.height), float(rate) if rate else None


def _inspect_pictures(facts: FileFacts, pictures: list[Path]) -> None:
    is_clip = Path(facts.path).is_dir()
    if not pictures:
        raise VideoError('holds no pictures')
    facts.digest, facts.num_bytes = _digest(pictures)
    damaged = []
    for picture in pictures:
        try:
            with Image.open(picture) as image:
                image.load()
                facts.size = facts.size or image.size
            facts.num_frames += 1
        # Each decoder of pictures has an error of its own for what it can't make sense of.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            damaged.append(f"'{picture.name}' ({_reason(error)})")
    if not facts.num_frames:
        raise VideoError(f'does not decode: {damaged[0]}')
    if damaged:
        detail = f'{len(damaged)} of {len(pictures)} pictures do not decode, as {damaged[0]}'
        facts.problems.append(('damaged', detail))
    if is_clip and len(pictures) == 1:
        facts.problems.append(('one_frame', 'holds a single picture'))


def _digest(paths: list[Path]) -> tuple[str, int]:
    """Return the SHA-256 of the content of files, one after the other, and their size."""
    digest, num_bytes = hashlib.sha256(), 0
    for path in paths:
        with path.open('rb') as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                num_bytes += len(block)
    return digest.hexdigest(), num_bytes


def _reason(error: Exception) -> str:
    text = getattr(error, 'strerror', None) or str(error)
    return ' '.join(str(text).split()).rstrip('.')
