"""20BN-Jester: gestures as folders of pictures, and what their mirror images are called."""

from __future__ import annotations

from pathlib import Path
import re

from mtl_training.data.video_sets.lists import (
    find_file,
    find_folder,
    line_error,
    numbered_lines,
    official_split,
    part_missing,
)
from mtl_training.data.videos.index import (
    check_split,
    ClipEntry,
    ClipIndex,
    held_out,
    NoSplitError,
)

LAYOUT = (
    '<root>/20bn-jester-v1/<clip>/00001.jpg ... and, in <root> or <root>/annotations, '
    'jester-v1-labels.csv, jester-v1-train.csv and jester-v1-validation.csv'
)
_PAIRS = {
    'Swiping Left': 'Swiping Right',
    'Sliding Two Fingers Left': 'Sliding Two Fingers Right',
    'Turning Hand Clockwise': 'Turning Hand Counterclockwise',
}
_MIRRORED = _PAIRS | {other: name for name, other in _PAIRS.items()}
_CLIP = re.compile(r'([0-9]+)\s*;\s*([^;]+)')
_FILES = {'train': 'train', 'val': 'validation'}


def jester(split: str, *, root: str, val_share: float = 0.0) -> ClipIndex:
    """
    20BN-Jester v1 (Materzynska et al., 2019): 27 gestures, 148,092 clips, 133,349 with labels.

    The labels of the official test list were never published. So there is no test split unless
    ``val_share`` is above 0, which holds that part of the train list out for val and makes the
    official validation list the test. The lists do not tell who performs a clip, so that clips
    are held out one by one. Mirrored clips of three pairs of gestures change their names.

    :param split: train, val or test.
    :param root: The folder that holds ``20bn-jester-v1`` and the lists.
    :param val_share: Of the clips of the train list that are held out for val; 0: val is the
        official validation list.
    :raises ValueError: If a setting is none of these, the folder not laid out like this, or a test
        split asked for without a share.
    """
    check_split(split)
    official = official_split(split, val_share)
    if official == 'test':
        raise NoSplitError(
            "split 'test': the labels of Jester's test list are withheld. With val_share above 0, "
            '0.1 say, val is held out of train and test is the official validation list.'
        )
    clips = find_folder(root, '20bn-jester-v1', layout=LAYOUT)
    labels = _labels(_list(root, 'labels'))
    entries = _entries(_list(root, _FILES[official]), clips, labels)
    if val_share and official == 'train':
        entries = held_out(entries, split, val_share)
    entries, missing = part_missing(entries, LAYOUT)
    return ClipIndex(labels, entries, missing, mirrored=_mirrored(labels), rate_hz=12.0)


def parse_label(path: Path, number: int, line: str) -> str:
    """
    Parse a line of ``jester-v1-labels.csv``, the name of a class.

    :raises ValueError: If the line is another one.
    """
    if not line or ';' in line:
        raise line_error(path, number, line, "'<class name>'")
    return line


def parse_clip(path: Path, number: int, line: str) -> tuple[str, str]:
    """
    Parse a line of the train or the validation list.

    :return: The folder of a clip and the name of its class.
    :raises ValueError: If the line is another one.
    """
    if not (match := _CLIP.fullmatch(line)):
        raise line_error(path, number, line, "'<clip>;<class name>'")
    return match[1], match[2]


def _list(root: str, name: str) -> Path:
    file = f'jester-v1-{name}.csv'
    return find_file(root, file, f'annotations/{file}', layout=LAYOUT)


def _labels(path: Path) -> tuple[str, ...]:
    labels: list[str] = []
    for number, line in numbered_lines(path, 'the names of the classes'):
        label = parse_label(path, number, line)
        if label in labels:
            raise line_error(path, number, line, 'each class once')
        labels.append(label)
    return tuple(labels)


def _entries(path: Path, clips: Path, labels: tuple[str, ...]) -> list[ClipEntry]:
    label_of = {name: label for label, name in enumerate(labels)}
    entries = []
    for number, line in numbered_lines(path, 'clips and their classes'):
        clip, name = parse_clip(path, number, line)
        if name not in label_of:
            raise line_error(path, number, line, "a class of 'jester-v1-labels.csv'")
        entries.append(ClipEntry(clips / clip, label_of[name], group=clip))
    return entries


def _mirrored(labels: tuple[str, ...]) -> dict[str, str] | None:
    mirrored = {name: other for name, other in _MIRRORED.items() if name in labels}
    # Where only one of a pair is a class, the mirror image of its clips is none.
    return mirrored if set(mirrored.values()) <= set(labels) else None
