"""Labels of images and people: PASCAL VOC2012 (Everingham et al., IJCV 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import find_folder, line_error, names_in, numbered_lines
from mtl_training.data.videos.index import check_split
import numpy as np
from numpy.typing import NDArray

CLASSES = (
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
)
ACTIONS = (
    'jumping',
    'phoning',
    'playinginstrument',
    'reading',
    'ridingbike',
    'ridinghorse',
    'running',
    'takingphoto',
    'usingcomputer',
    'walking',
)
OTHER = 'other'  # of people in none of the actions; its lists may be missing
SPLITS = ('train', 'val', 'trainval')
LAYOUT = (
    '<root>/VOCdevkit/VOC2012/JPEGImages/<id>.jpg, ImageSets/Main/<split>.txt, '
    'ImageSets/Main/<class>_<split>.txt and ImageSets/Action/<action>_<split>.txt there'
)
PRESENT, ABSENT, UNCERTAIN = 1, -1, 0
_FLAGS = {'1': PRESENT, '-1': ABSENT, '0': UNCERTAIN}
_NUMBER = re.compile(r'[1-9][0-9]{0,8}')


class VocLabels(NamedTuple):
    """
    The images of a split, N of them, and what they show.

    Where a flag is 0 all instances are difficult: neither training nor average precision counts
    such an image for that class.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    flags: NDArray[np.int8]  # [N, 20]; 1 present, -1 absent, 0 uncertain
    missing: tuple[str, ...]  # ids that the list names and the disk lacks


class VocActions(NamedTuple):
    """The people of a split, P of them, and what they do."""

    actions: tuple[str, ...]
    ids: tuple[str, ...]  # [P], of the image
    paths: tuple[Path, ...]  # [P]
    objects: NDArray[np.int64]  # [P], of the person among the objects of the image, from 0
    flags: NDArray[np.int8]  # [P, A]; 1 does, -1 does not, 0 unknown
    missing: tuple[str, ...]  # ids of images that the lists name and the disk lacks


def read_voc_labels(split: str, *, root: str) -> VocLabels:
    """
    Read the labels of the images that are on disk.

    :param split: train, val or trainval: 5,717, 5,823 and 11,540 images; those of test are not
        public.
    :param root: The folder that holds VOCdevkit or VOC2012, or VOC2012 itself.
    :raises ValueError: If something of the layout is missing, a line does not parse, or the list
        of a class has other images than that of the split.
    """
    check_split(split, SPLITS)
    folder = find_voc(root)
    path = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    listed = [parse_id(path, n, line) for n, line in numbered_lines(path, 'ids of images')]
    columns = [_class_flags(path, name, listed) for name in CLASSES]
    present = _images(folder)
    found = [i for i, name in enumerate(listed) if f'{name}.jpg' in present]
    _check_found(len(found), folder, listed)
    return VocLabels(
        classes=CLASSES,
        ids=tuple(listed[i] for i in found),
        paths=tuple(folder / 'JPEGImages' / f'{listed[i]}.jpg' for i in found),
        flags=np.array(columns, np.int8).T[found],
        missing=tuple(name for name in listed if f'{name}.jpg' not in present),
    )


def read_voc_actions(split: str, *, root: str) -> VocActions:
    """
    Read the actions of the people whose images are on disk.

    :param split: train, val or trainval.
    :param root: The folder that holds VOCdevkit or VOC2012, or VOC2012 itself.
    :raises ValueError: If something of the layout is missing or a line does not parse.
    """
    check_split(split, SPLITS)
    folder = find_voc(root)
    lists = folder / 'ImageSets' / 'Action'
    has_other = (lists / f'{OTHER}_{split}.txt').is_file()
    names = (*ACTIONS, OTHER) if has_other else ACTIONS
    rows: dict[tuple[str, int], list[int]] = {}
    for column, name in enumerate(names):
        path = lists / f'{name}_{split}.txt'
        for number, line in numbered_lines(path, 'lines of an image, an object and a flag'):
            image, person, flag = parse_action(path, number, line)
            # A person whom the list of an action leaves out may do it or not.
            rows.setdefault((image, person), [UNCERTAIN] * len(names))[column] = flag
    present = _images(folder)
    people = [person for person in rows if f'{person[0]}.jpg' in present]
    _check_found(len(people), folder, [image for image, _ in rows])
    return VocActions(
        actions=names,
        ids=tuple(image for image, _ in people),
        paths=tuple(folder / 'JPEGImages' / f'{image}.jpg' for image, _ in people),
        objects=np.array([person for _, person in people], np.int64),
        flags=np.array([rows[person] for person in people], np.int8),
        missing=tuple(dict.fromkeys(image for image, _ in rows if f'{image}.jpg' not in present)),
    )


def find_voc(root: str) -> Path:
    """
    Return the folder VOC2012.

    :raises ValueError: If there is none.
    """
    places = ('VOCdevkit/VOC2012', 'VOC2012', '.')
    folder = find_folder(root, *(f'{place}/ImageSets' for place in places), layout=LAYOUT).parent
    return folder


def parse_id(path: Path, number: int, line: str) -> str:
    """
    Return the id of an image that a line is.

    :param path: The file that has the line, for messages.
    :param number: Of the line, for messages.
    :raises ValueError: If it is not one word.
    """
    words = line.split()
    if len(words) != 1:
        raise line_error(path, number, line, 'the id of an image')
    return words[0]


def parse_flag(path: Path, number: int, line: str) -> tuple[str, int]:
    """
    Return the image and the flag of a line; a flag of one character has two blanks before it.

    :raises ValueError: If the line is not of this format.
    """
    words = line.split()
    if len(words) != 2 or words[1] not in _FLAGS:
        raise line_error(path, number, line, 'the id of an image and a flag, 1, -1 or 0')
    return words[0], _FLAGS[words[1]]


def parse_action(path: Path, number: int, line: str) -> tuple[str, int, int]:
    """
    Return the image, the object in it, from 0, and the flag of a line; the line counts from 1.

    :raises ValueError: If the line is not of this format.
    """
    words = line.split()
    if len(words) != 3 or words[2] not in _FLAGS or not _NUMBER.fullmatch(words[1]):
        expected = 'the id of an image, the number of an object from 1, and a flag, 1, -1 or 0'
        raise line_error(path, number, line, expected)
    return words[0], int(words[1]) - 1, _FLAGS[words[2]]


def _class_flags(split_path: Path, name: str, listed: Sequence[str]) -> list[int]:
    path = split_path.with_name(f'{name}_{split_path.name}')
    flags = {}
    for number, line in numbered_lines(path, 'lines of the id of an image and a flag'):
        image, flag = parse_flag(path, number, line)
        flags[image] = flag
    if others := flags.keys() ^ set(listed):
        raise ValueError(
            f"'{path}' must list the {len(set(listed))} images of '{split_path.name}', got "
            f"{len(flags)}; '{min(others)}' is in one of them alone."
        )
    return [flags[image] for image in listed]


def _images(folder: Path) -> set[str]:
    return names_in(folder / 'JPEGImages')


def _check_found(count: int, folder: Path, listed: Sequence[str]) -> None:
    if not count:
        raise ValueError(
            f"'{folder / 'JPEGImages'}' holds none of the {len(set(listed))} listed images, as "
            f"'{listed[0]}.jpg'; the layout is {LAYOUT}."
        )
