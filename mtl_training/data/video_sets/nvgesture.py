"""NVGesture: gestures of drivers, seen by a depth camera and by a pair of infrared ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import (
    find_file,
    find_folder,
    line_error,
    numbered_lines,
    part_missing,
)
from mtl_training.data.videos.index import (
    check_split,
    ClipEntry,
    ClipIndex,
    held_out,
    is_held_out,
)

LAYOUT = (
    '<root>/Video_data/class_01/subject3_r0/sk_color.avi (sk_depth.avi, duo_left.avi, ...) and '
    '<root>/nvgesture_train_correct_cvpr2016_v2.lst, nvgesture_test_correct_cvpr2016_v2.lst'
)
LABELS = (
    *(f'five fingers move {side}' for side in ('right', 'left', 'up', 'down')),
    *(f'two fingers move {side}' for side in ('right', 'left', 'up', 'down')),
    'click',
    'beckoned',
    'stretch hand',
    'shake hand',
    'one',
    'two',
    'three',
    'lift up',
    'press down',
    'push',
    'shrink',
    'levorotation',
    'dextrorotation',
    'two fingers prod',
    'grab',
    'thumbs up',
    'OK',
)
NONE = 'no gesture'
_PAIRS = ((0, 1), (4, 5), (19, 20))  # what a mirror changes
# The token of a line that has the range of each sensor, and the sensor's own file if the token
# is another's: the three infrared streams run together.
_SENSORS = {
    'color': ('color', None),
    'depth': ('depth', None),
    'duo_left': ('duo_left', None),
    'duo_right': ('duo_left', 'duo_right'),
    'duo_disparity': ('duo_left', 'duo_disparity'),
}
_LISTS = ('_correct_cvpr2016_v2', '_correct_cvpr2016', '_correct_v2', '_correct')
_PATH = re.compile(r'path:(?:\./)?(Video_data/class_[0-9]+/subject([0-9]{1,3})_r[0-9]+)')
_SENSOR = re.compile(r'(\w+):(\w+):([0-9]{1,9}):([0-9]{1,9})')
_LABEL = re.compile('label:([0-9]{1,3})')
_EXPECTED = (
    "'path:./Video_data/class_01/subject3_r0 color:sk_color:146:226 ... label:1', with ranges "
    f'that start at 1 or later and labels from 1 to {len(LABELS)}'
)
# What lies this near to a gesture may belong to it: the hand goes there and comes back. As a
# share of the gesture's range, 80 frames at 30 Hz.
_MARGIN = 0.25


class NvRange(NamedTuple):
    """Where a gesture is in the stream of a sensor."""

    stem: str  # of the file
    frames: tuple[int, int]  # the first, from 0, and the one after the last


class NvLine(NamedTuple):
    """One line of a list."""

    folder: str
    subject: int
    label: int  # from 1
    ranges: dict[str, NvRange]  # by sensor


def parse_line(line: str) -> NvLine:
    """
    Parse a line of a list, stripped.

    The numbers that it has are of frames from 1, the last one included; the parsed ones are of
    frames from 0, up to the one after the last.

    :raises ValueError: If it is none.
    """
    path = label = None
    ranges: dict[str, NvRange] = {}
    for token in line.split():
        if match := _PATH.fullmatch(token):
            path = match
        elif match := _LABEL.fullmatch(token):
            label = int(match[1])
        elif match := _SENSOR.fullmatch(token):
            ranges[match[1]] = NvRange(match[2], (int(match[3]) - 1, int(match[4])))
        else:
            raise ValueError(f'expected {_EXPECTED}, got {token!r} in {line!r}.')
    is_once = len(line.split()) == len(ranges) + 2
    is_empty = any(not 0 <= first < end for _, (first, end) in ranges.values())
    if not (path and label and ranges and is_once) or label > len(LABELS) or is_empty:
        raise ValueError(f'expected {_EXPECTED}, got {line!r}.')
    return NvLine(path[1], int(path[2]), label, ranges)


def nvgesture(
    split: str,
    *,
    root: str,
    sensor: str = 'color',
    none_share: float = 0.0,
    val_share: float = 0.1,
) -> ClipIndex:
    """
    NVGesture (Molchanov et al., 2016): 25 gestures of drivers, 1,532 clips of several sensors.

    Each video holds seconds of no gesture before and after the gesture; a clip is the range of
    the gesture alone. There is no official validation split: whole subjects are held out of the
    training list. A mirror changes moves to the left into moves to the right, and rotations.

    :param split: train, val or test.
    :param root: The folder that holds Video_data and the lists.
    :param sensor: color, depth, duo_left, duo_right or duo_disparity.
    :param none_share: Share of the videos of which what is before and after the gesture become
        clips of one more class, the last, 'no gesture'; 0: no such class. A margin of a quarter
        of the gesture's length is left out on both sides, because the hand still moves, and so
        are stretches shorter than half of it. Where a video ends is read from the log of its
        sensor; without one, only what is before the gesture is used.
    :param val_share: Share of the subjects of the training list that validate.
    :raises ValueError: If the list or the videos are not there, or a line does not parse.
    """
    check_split(split)
    if sensor not in _SENSORS:
        raise ValueError(f'sensor must be one of {tuple(_SENSORS)}, got {sensor!r}.')
    if not 0 <= none_share <= 1:
        raise ValueError(f'none_share must lie in [0, 1], got {none_share}.')
    folder = find_folder(root, 'Video_data', layout=LAYOUT).parent
    theirs = 'test' if split == 'test' else 'train'
    lists = [f'nvgesture_{theirs}{version}.lst' for version in _LISTS]
    entries = list(_gestures(folder, find_file(root, *lists, layout=LAYOUT), sensor))
    entries, missing = part_missing(entries, LAYOUT)
    if split != 'test':
        entries = held_out(entries, split, val_share)
    labels = LABELS
    if none_share:
        labels = (*LABELS, NONE)
        entries += [
            ClipEntry(entry.path, len(LABELS), frames, entry.group)
            for entry in entries
            if is_held_out(str(entry.path.relative_to(folder)), none_share)
            for frames in _stretches(entry)
        ]
    mirrored = {LABELS[i]: LABELS[j] for pair in _PAIRS for i, j in (pair, pair[::-1])}
    return ClipIndex(labels, entries, missing, mirrored)


def _gestures(folder: Path, path: Path, sensor: str) -> Iterator[ClipEntry]:
    token, own_stem = _SENSORS[sensor]
    for number, text in numbered_lines(path, f'lines such as {_EXPECTED}'):
        try:
            line = parse_line(text)
        except ValueError as error:
            raise line_error(path, number, text, _EXPECTED) from error
        if token not in line.ranges:
            raise line_error(path, number, text, f"a range of the sensor '{token}'")
        stem, frames = line.ranges[token]
        file = folder / line.folder / f'{own_stem or stem}.avi'
        # Of this spelling, the default share holds out 2 of the 12 subjects that train.
        yield ClipEntry(file, line.label - 1, frames, f'subject {line.subject}')


def _stretches(entry: ClipEntry) -> Iterator[tuple[int, int]]:
    assert entry.frames, 'every clip of a list has a range'
    first, end = entry.frames
    margin, least = int(_MARGIN * (end - first)), (end - first) // 2
    for before, after in ((0, first - margin), (end + margin, _length(entry.path))):
        if after - before >= max(least, 1):
            yield before, after


def _length(path: Path) -> int:
    # The logs have a line for each frame; the disparity is computed of the left stream.
    stem = path.stem.replace('duo_disparity', 'duo_left')
    log = path.with_name(f'{stem}_log.txt')
    if not log.is_file():
        return 0
    with log.open(encoding='utf-8', errors='replace') as lines:
        return sum(bool(line.strip()) for line in lines)
