"""ChaLearn IsoGD: isolated gestures before a depth camera."""

from __future__ import annotations

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
from mtl_training.data.videos.index import check_split, ClipEntry, ClipIndex

LAYOUT = (
    '<root>/IsoGD_phase_1/train/001/M_00001.avi (K_00001.avi: depth) with valid/ beside train/, '
    '<root>/IsoGD_phase_2/test/001/M_00001.avi, and the lists <root>/IsoGD_labels/train.txt, '
    'valid.txt and test.txt, or IsoGD_phase_1/train_list.txt, which has labels too; or all of '
    'what is in these folders in <root> itself'
)
MODALITIES = ('rgb', 'depth')
NUM_CLASSES = 249
# Our names of the splits: theirs, and the folder of the first release.
_THEIRS = {
    'train': ('train', 'IsoGD_phase_1'),
    'val': ('valid', 'IsoGD_phase_1'),
    'test': ('test', 'IsoGD_phase_2'),
}
_LINE = re.compile(
    r'((?:train|valid|test)/[0-9]+/M_[0-9]+\.avi)\s+((?:train|valid|test)/[0-9]+/K_[0-9]+\.avi)'
    r'(?:\s+([0-9]{1,3}))?'
)
_EXPECTED = (
    "'train/001/M_00001.avi train/001/K_00001.avi 26': the files of colour and depth, and a label "
    f'from 1 to {NUM_CLASSES} or none'
)


class IsogdLine(NamedTuple):
    """One line of a list; the number in a file name starts anew in every split."""

    rgb: str
    depth: str
    label: int | None  # from 1; the lists of the first release have none but for training


def parse_line(line: str) -> IsogdLine:
    """
    Parse a line of two or three columns, stripped.

    :raises ValueError: If it is none.
    """
    match = _LINE.fullmatch(line)
    label = int(match[3]) if match and match[3] else None
    if not match or not (label is None or 1 <= label <= NUM_CLASSES):
        raise ValueError(f'expected {_EXPECTED}, got {line!r}.')
    return IsogdLine(match[1], match[2], label)


def isogd(split: str, *, root: str, modality: str = 'rgb') -> ClipIndex:
    """
    ChaLearn IsoGD (Wan et al., 2016): 249 gestures, 47,933 clips of colour and depth.

    Its classes have no names: isogd_001 is its label 1. Clips are not mirrored, because nobody
    says which gestures a mirror changes.

    :param split: train, val or test.
    :param root: The folder that holds IsoGD_phase_1, IsoGD_phase_2 and IsoGD_labels, or what they
        hold.
    :param modality: rgb or depth.
    :raises ValueError: If the lists or the videos are not there, or a line does not parse.
    """
    check_split(split)
    if modality not in MODALITIES:
        raise ValueError(f'modality must be one of {MODALITIES}, got {modality!r}.')
    theirs, phase = _THEIRS[split]
    clips = find_folder(root, f'{phase}/{theirs}', theirs, layout=LAYOUT).parent
    # The later release first: it alone labels all splits.
    lists = [f'IsoGD_labels/{theirs}.txt', f'{theirs}.txt']
    lists += [f'{phase}/{theirs}_list.txt', f'{theirs}_list.txt']
    entries = []
    for line, label in _labelled(find_file(root, *lists, layout=LAYOUT), theirs):
        entries.append(ClipEntry(clips / getattr(line, modality), label))
    entries, missing = part_missing(entries, LAYOUT)
    labels = tuple(f'isogd_{number:03d}' for number in range(1, NUM_CLASSES + 1))
    return ClipIndex(labels, entries, missing, mirrored=None)


def _labelled(path: Path, theirs: str) -> list[tuple[IsogdLine, int]]:
    lines = []
    for number, text in numbered_lines(path, f'lines such as {_EXPECTED}'):
        try:
            line = parse_line(text)
        except ValueError as error:
            raise line_error(path, number, text, _EXPECTED) from error
        if line.label is None:
            raise ValueError(
                f"'{path}', line {number}: this list has no labels. Those of the {theirs} split "
                f'are in IsoGD_labels/{theirs}.txt of the later release: put it into '
                f"'<root>/IsoGD_labels'."
            )
        lines.append((line, line.label - 1))
    return lines
