"""Clips that are folders of numbered pictures, or one picture that stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
import os
from pathlib import Path
import re
from typing import Any

import cv2
from mtl_training.data.decoding import Frame, VideoError, VideoFacts
import numpy as np

SUFFIXES = ('.jpeg', '.jpg', '.png')


def list_pictures(folder: Path) -> list[Path]:
    """
    Return the pictures of a folder by the last number in their names, as people count.

    A file that is a picture is all there is of a clip that stands still.

    :raises VideoError: If the folder is gone.
    """
    if is_still(folder):
        return [folder]
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if is_picture(e.name)]
    except OSError as error:
        raise VideoError(f"'{folder}' can't be listed ({error.strerror}).") from error
    return [folder / name for name in sorted(names, key=_number)]


def is_picture(name: str) -> bool:
    """Tell whether a file is a picture by its name; hidden ones are not looked at."""
    return not name.startswith('.') and os.path.splitext(name)[1].lower() in SUFFIXES


def is_still(path: Path) -> bool:
    """Tell whether a clip is one picture that stands still."""
    return is_picture(path.name) and not path.is_dir()


def shows_pictures(path: Path) -> bool:
    """Tell whether a clip is made of pictures: it is a video otherwise."""
    return path.is_dir() or is_picture(path.name)


def _number(name: str) -> tuple[int, str]:
    digits = re.findall(r'\d+', os.path.splitext(name)[0])
    return int(digits[-1]) if digits else -1, name


def probe_pictures(folder: Path, frames: tuple[int, int] | None, rate_hz: float) -> VideoFacts:
    """
    Return what is there of a clip, of which the first picture is read.

    :param frames: First frame and the one after the last; ``None``: all of them.
    :raises VideoError: If there is no picture, or none of the range.
    """
    pictures = list_pictures(folder)
    count = len(pictures)
    first, end = (0, count) if frames is None else frames
    if not 0 <= first < min(end, count):
        raise VideoError(
            f"'{folder}' holds {count} pictures"
            + ('.' if frames is None else f', and none of those from {first} to {end}.')
        )
    if all(_read(path) is None for path in pictures):
        raise VideoError(f"'{folder}' holds no picture that can be decoded.")
    problem = 'holds a single frame' if count == 1 and not is_still(folder) else ''
    if end > count:
        problem = f'its frames from {first} to {end} end at {count}'
    end = min(end, count)
    return VideoFacts(first / rate_hz, (end - 1) / rate_hz, end - first, problem)


def read_pictures(
    folder: Path,
    indices: Sequence[int],
    convert: Callable[[Frame], Any],
    on_damage: Callable[[str], object] = lambda text: None,
    *,
    within: range,
) -> list[Any]:
    """
    Return pictures by their places in the folder.

    In the place of one that can't be decoded stands the last good one before it, or else the
    first one after it.

    :param convert: What becomes of a picture (RGB, ``uint8 [H, W, 3]``).
    :param on_damage: Told once if a picture is damaged or missing.
    :param within: Which places may be used.
    :raises VideoError: If no picture of the range can be decoded.
    """
    pictures = list_pictures(folder)
    read: dict[int, Any] = {}
    bad: dict[int, str] = {}

    def at(index: int) -> Any:
        if index not in read:
            picture = _read(pictures[index]) if index < len(pictures) else None
            read[index] = None if picture is None else convert(picture)
            if picture is None:
                bad[index] = pictures[index].name if index < len(pictures) else f'no. {index}'
        return read[index]

    frames = []
    for index in indices:
        order = chain(range(index, within.start - 1, -1), range(index + 1, within.stop))
        good = next((frame for place in order if (frame := at(place)) is not None), None)
        if good is None:
            raise VideoError(f"'{folder}' holds no picture that can be decoded.")
        frames.append(good)
    if bad:
        on_damage(f"pictures are missing or do not decode, such as '{next(iter(bad.values()))}'")
    return frames


def _read(path: Path) -> Frame | None:
    # Not cv2.imread, which writes a line to the screen for each file that is not one.
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])  # type: ignore[return-value]
