"""The lists of Kinetics, by the names of their columns and whatever the spelling of classes."""

from __future__ import annotations

from collections.abc import Mapping
import csv
from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.video_sets.lists import line_error, numbered_lines

COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')
_HEADER = f"'{','.join(COLUMNS)}', in any order and among others"
_ROW = 'a video, its first second and its last under the names of these columns'
_LABELLED = (
    'a label for each clip (most test lists have none: with val_share above 0, val is held out of '
    'train and test is the official val list)'
)
_SECONDS = re.compile(r'([0-9]{1,6})(?:\.0*)?')
_UNSPELT = str.maketrans({' ': '_', '"': None, "'": None, '(': None, ')': None})


class Row(NamedTuple):
    """A row of a list: the part of a video that a clip is."""

    label: str
    youtube_id: str
    start_sec: int
    end_sec: int

    @property
    def stem(self) -> str:
        """
        The name of the clip's file without its suffix.

        Ids begin with ``-`` and have ``_`` in them, so that names are put together, never parsed.
        """
        return f'{self.youtube_id}_{self.start_sec:06d}_{self.end_sec:06d}'


def spelling(label: str) -> str:
    """
    Return what all spellings of a class have in common.

    Copies write ``petting animal (not cat)``, ``petting_animal_(not_cat)`` or
    ``petting_animal_not_cat``.
    """
    return label.translate(_UNSPELT)


def parse_header(path: Path, number: int, line: str) -> dict[str, int]:
    """
    Parse the first line of a list.

    :return: The place of each of ``COLUMNS``; there may be others, such as split and is_cc.
    :raises ValueError: If one of them is missing.
    """
    names = _fields(path, number, line, _HEADER)
    absent = [column for column in COLUMNS if column not in names]
    if absent:
        expected = _LABELLED if absent == ['label'] else _HEADER
        raise line_error(path, number, line, expected)
    return {column: names.index(column) for column in COLUMNS}


def parse_row(path: Path, number: int, line: str, columns: Mapping[str, int]) -> Row:
    """
    Parse a line of a list below its header.

    :param columns: The place of each of ``COLUMNS``.
    :raises ValueError: If there are fewer fields, or times that are no whole seconds.
    """
    fields = _fields(path, number, line, _ROW)
    if len(fields) <= max(columns.values()):
        raise line_error(path, number, line, _ROW)
    label, youtube_id, *times = (fields[columns[name]] for name in COLUMNS)
    start, end = (_SECONDS.fullmatch(time) for time in times)
    if not (youtube_id and start and end):
        raise line_error(path, number, line, _ROW)
    if not spelling(label):
        raise line_error(path, number, line, _LABELLED)
    return Row(label, youtube_id, int(start[1]), int(end[1]))


def rows(path: Path) -> list[tuple[int, Row]]:
    """
    Return the rows of a list with the numbers of their lines.

    :raises ValueError: If there is no such file, or a line of it does not parse.
    """
    header, *lines = numbered_lines(path, _HEADER)
    columns = parse_header(path, *header)
    return [(number, parse_row(path, number, line, columns)) for number, line in lines]


def _fields(path: Path, number: int, line: str, expected: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line]))]
    except csv.Error as error:
        raise line_error(path, number, line, expected) from error
