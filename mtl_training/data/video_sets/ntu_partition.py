"""The classes of NTU RGB+D, parted into actions and gestures by a table that users can replace."""

from __future__ import annotations

import csv
from pathlib import Path
import re
from typing import Any, NamedTuple

PARTITIONS = ('action', 'gesture')
# A gesture is a short, stylised or communicative movement of hands, arms or head: no object is
# handled and the body stays in place. Actions are the rest: 96, and 24 gestures.
TABLE = Path(__file__).with_name('ntu120_partition.csv')
_COLUMNS = 'the columns A,name,partition'
_ROW = (
    "A from 1 to 120, a name and a partition, such as '10,clapping,gesture', the partition being "
    'action or gesture'
)
_SIDES = {
    'left': 'right',
    'right': 'left',
    'clockwise': 'counterclockwise',
    'counterclockwise': 'clockwise',
}


class NtuClass(NamedTuple):
    """One class."""

    number: int  # A of the file names, from 1
    name: str
    partition: str


def parse_class(row: list[str], where: str) -> NtuClass:
    """
    Parse the number, the name and the partition of a class.

    :param row: These three.
    :param where: The file and the line, for messages.
    :raises ValueError: If they are none.
    """
    number, name, partition = (*(cell.strip() for cell in row), '', '', '')[:3]
    is_number = re.fullmatch('[0-9]{1,3}', number) and 1 <= int(number) <= 120
    if not is_number or not name or partition not in PARTITIONS:
        raise ValueError(f'{where}: expected {_ROW}, got {row}.')
    return NtuClass(int(number), name, partition)


def read_partition(path: str | Path | None = None) -> list[NtuClass]:
    """
    Read which classes are actions and which are gestures.

    :param path: Of a CSV file with the columns A, name and partition, in any order and among
        others; ``None``: the table of this package. Classes that it does not name are left out.
    :return: The classes in the order of their numbers.
    :raises ValueError: If the file is none, or a number or a name is there twice.
    """
    file = TABLE if path is None else Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"partition_file '{file}' is not a file that exists; it has {_COLUMNS}.")
    with file.open(encoding='utf-8-sig', errors='replace', newline='') as stream:
        found = _read_rows(csv.reader(stream), str(file))
    for kind in ('number', 'name'):
        seen = [getattr(one, kind) for one in found]
        if twice := [value for value in seen if seen.count(value) > 1]:
            raise ValueError(f"'{file}': the {kind} {twice[0]!r} is there twice.")
    return sorted(found)


def _read_rows(reader: Any, file: str) -> list[NtuClass]:
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"'{file}', line {reader.line_num}: not CSV: {error}.") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if not {'A', 'name', 'partition'} <= set(header) or len(rows) < 2:
        raise ValueError(f"'{file}' must have {_COLUMNS} and a line for each class, got {header}.")
    places = [header.index(name) for name in ('A', 'name', 'partition')]
    return [
        parse_class([row[i] if i < len(row) else '' for i in places], f"'{file}', line {number}")
        for number, row in rows[1:]
    ]


def mirrored_names(names: tuple[str, ...]) -> dict[str, str] | None:
    """
    Return the class that the mirror image of each class shows, where its name says another side.

    None of the 120 classes names a side or a sense of rotation, which a mirror changes, so that
    all of them may be mirrored; the names of a user's own table may.

    :return: As in a ``ClipIndex``; ``None`` if the mirror image of a class has no name.
    """
    pairs = {}
    for name in names:
        other = re.sub(r'[a-z]+', lambda word: _SIDES.get(word[0], word[0]), name)
        if other != name:
            pairs[name] = other
    return pairs if set(pairs.values()) <= set(names) else None
