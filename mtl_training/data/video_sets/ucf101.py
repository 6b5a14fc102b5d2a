"""UCF101: its three official divisions, their classes, and a validation split of whole groups."""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import (
    check_fold,
    find_folder,
    line_error,
    numbered_lines,
    part_missing,
)
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex, held_out

LAYOUT = (
    '<root>/UCF-101/<class>/v_<class>_g<group>_c<clip>.avi and '
    '<root>/ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt ... testlist03.txt'
)
_CLASS = re.compile(r'([0-9]{1,6})\s+([\w-]+)')
_VIDEO = re.compile(r'([\w-]+)/([^/\s]+_(g[0-9]+)_c[0-9]+\.avi)(?:\s+([0-9]{1,6}))?')


class ListedVideo(NamedTuple):
    """A line of a train or test list; those of test have no class number."""

    class_name: str
    file: str
    group: str
    class_number: int | None


def ucf101(split: str, *, root: str, fold: int = 1, val_share: float = 0.15) -> ClipIndex:
    """
    UCF101 (Soomro et al., 2012): 101 actions, 13,320 clips.

    The official lists have no validation split: groups g08 to g25 of ``trainlist01.txt``, say,
    are divided into those that train and those that validate. A group is held out of all classes
    at once, so that each class is validated. The clips may be mirrored.

    :param split: train, val or test.
    :param root: The folder that holds ``UCF-101`` and ``ucfTrainTestlist``.
    :param fold: Which of the official divisions: 1, 2 or 3.
    :param val_share: Of the groups of the train list that are held out for val.
    :raises ValueError: If a setting is none of these, or the folder not laid out like this.
    """
    check_split(split)
    check_fold(fold)
    lists = find_folder(root, 'ucfTrainTestlist', layout=LAYOUT)
    videos = find_folder(root, 'UCF-101', layout=LAYOUT)
    labels = _labels(lists / 'classInd.txt')
    listed = lists / f'{"test" if split == "test" else "train"}list{fold:02d}.txt'
    entries = _entries(listed, videos, labels)
    if split != 'test':
        entries = held_out(entries, split, val_share)
    entries, missing = part_missing(entries, LAYOUT)
    return ClipIndex(labels, entries, missing, mirrored={})


def parse_class(path: Path, number: int, line: str) -> tuple[int, str]:
    """
    Parse a line of ``classInd.txt``.

    :return: The number of a class, from 1, and its name.
    :raises ValueError: If the line is another one.
    """
    if not (match := _CLASS.fullmatch(line)):
        raise line_error(path, number, line, "'<class number> <class name>'")
    return int(match[1]), match[2]


def parse_video(path: Path, number: int, line: str) -> ListedVideo:
    """
    Parse a line of a train or test list.

    The class is that of the folder: ``HandstandPushups`` holds ``v_HandStandPushups_g01_c01.avi``.

    :raises ValueError: If the line is another one.
    """
    if not (match := _VIDEO.fullmatch(line)):
        expected = "'<class>/<name>_g<group>_c<clip>.avi', and a class number in train lists"
        raise line_error(path, number, line, expected)
    return ListedVideo(match[1], match[2], match[3], int(match[4]) if match[4] else None)


def _labels(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for number, line in numbered_lines(path, f'the classes; the layout is {LAYOUT}'):
        class_number, name = parse_class(path, number, line)
        if class_number != len(names) + 1 or name in names:
            raise line_error(path, number, line, f'class {len(names) + 1}, with a name of its own')
        names.append(name)
    return tuple(names)


def _entries(path: Path, videos: Path, labels: tuple[str, ...]) -> list[ClipEntry]:
    label_of = {name: label for label, name in enumerate(labels)}
    entries = []
    for number, line in numbered_lines(path, f'videos; the layout is {LAYOUT}'):
        video = parse_video(path, number, line)
        if video.class_name not in label_of:
            raise line_error(path, number, line, "a class of 'classInd.txt'")
        label = label_of[video.class_name]
        if video.class_number not in (None, label + 1):
            raise line_error(path, number, line, f"{label + 1}, the number in 'classInd.txt'")
        file = videos / video.class_name / video.file
        entries.append(ClipEntry(file, label, group=video.group))
    return entries
