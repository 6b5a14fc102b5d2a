"""HMDB51: its three official divisions, one list per class, and clips of one source together."""

from __future__ import annotations

from pathlib import Path
import re

from mtl_training.data.video_sets.lists import (
    check_fold,
    find_folder,
    line_error,
    names_in,
    numbered_lines,
    part_missing,
)
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex, held_out

LAYOUT = (
    '<root>/hmdb51_org/<class>/<name>.avi (or <root>/<class>/<name>.avi) and '
    '<root>/testTrainMulti_7030_splits/<class>_test_split<1|2|3>.txt'
)
_LIST = re.compile(r'([^.].*)_test_split([123])\.txt')
_VIDEO = re.compile(r'([^/\\\0]+\.avi)\s+([012])')
# <source>_<class>_<visible parts>_<camera motion>_np<persons>_<view>_<quality>_<clip>.avi
_FIELDS = re.compile(r'(.+)_[a-z]+_[a-z]+_np[0-9]+_[a-z]+_[a-z]+_[0-9]+\.avi')
_IN_LIST = {1: 'train', 2: 'test'}


def hmdb51(split: str, *, root: str, fold: int = 1, val_share: float = 0.15) -> ClipIndex:
    """
    HMDB51 (Kuehne et al., 2011): 51 actions, 6,766 clips, of which a division uses 5,100.

    The lists carry no class numbers: classes are in the order of their names. There is no official
    validation split either: clips of the train lists are held out by the film that they were cut
    from. The clips may be mirrored.

    :param split: train, val or test.
    :param root: The folder that holds ``testTrainMulti_7030_splits`` and the folders of classes,
        these in ``hmdb51_org`` or by themselves.
    :param fold: Which of the official divisions: 1, 2 or 3.
    :param val_share: Of the films of the train lists that are held out for val.
    :raises ValueError: If a setting is none of these, or the folder not laid out like this.
    """
    check_split(split)
    check_fold(fold)
    lists = find_folder(root, 'testTrainMulti_7030_splits', layout=LAYOUT)
    videos = find_folder(root, 'hmdb51_org', '.', layout=LAYOUT)
    labels = _labels(lists)
    wanted = 'test' if split == 'test' else 'train'
    entries = []
    for label, name in enumerate(labels):
        path = lists / f'{name}_test_split{fold}.txt'
        for number, line in numbered_lines(path, f'the clips of a class; the layout is {LAYOUT}'):
            file, use = parse_video(path, number, line)
            if _IN_LIST.get(use) == wanted:
                entries.append(ClipEntry(videos / name / file, label, group=source(file, name)))
    if split != 'test':
        entries = held_out(entries, split, val_share)
    entries, missing = part_missing(entries, LAYOUT)
    return ClipIndex(labels, entries, missing, mirrored={})


def parse_video(path: Path, number: int, line: str) -> tuple[str, int]:
    """
    Parse a line of a list.

    :return: The name of a clip, and 1 if it is to train, 2 if it is to test and 0 if this division
        does without it.
    :raises ValueError: If the line is another one.
    """
    if not (match := _VIDEO.fullmatch(line)):
        raise line_error(path, number, line, "'<name>.avi <0|1|2>'")
    return match[1], int(match[2])


def source(file: str, class_name: str) -> str:
    """
    Return the film that a clip was cut from, the first field of its name.

    Films and classes have underscores in their names, so that the fields are counted from the
    right. A name without these fields is a film of its own.
    """
    match = _FIELDS.fullmatch(file)
    return match[1].removesuffix(f'_{class_name}') if match else file


def _labels(lists: Path) -> tuple[str, ...]:
    matches = (_LIST.fullmatch(name) for name in names_in(lists))
    if labels := {match[1] for match in matches if match}:
        return tuple(sorted(labels))
    raise ValueError(f"'{lists}' holds no list of a class; the layout is {LAYOUT}.")
