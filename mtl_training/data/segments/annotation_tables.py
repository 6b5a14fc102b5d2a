"""Tables that say what is done when in one's own videos: comma-separated values, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from mtl_training.data.annotations.tables import table_rows
from mtl_training.data.video_sets.lists import line_error
from mtl_training.data.videos.index import SPLITS

ACTION_COLUMNS = ('video', 'start_sec', 'end_sec', 'verb')  # and, if wanted, noun and split
CHANGE_COLUMNS = ('video', 'start_sec', 'end_sec', 'state_change', 'pnr_sec')  # and split
_TRUTHS = {'true': True, '1': True, 'false': False, '0': False}


class ActionRow(NamedTuple):
    """One action of a video."""

    video: str
    start_sec: float
    end_sec: float
    labels: tuple[str, ...]  # verb and, where the table has the column, noun
    split: str | None  # None: the table does not tell


class ChangeRow(NamedTuple):
    """One interval in which an object changes its state, or none does."""

    video: str
    start_sec: float
    end_sec: float
    state_change: bool
    pnr_sec: float | None  # point of no return; None where nobody said when
    split: str | None


def read_action_rows(path: Path) -> list[ActionRow]:
    """
    Read a table of actions, with the columns video, start_sec, end_sec, verb.

    A column noun gives each action a second label, and a column split says to which split
    (train, val, test) a row belongs.

    :raises ValueError: If the file or a column is missing, or a row is not of this format.
    """
    rows = []
    for number, row in table_rows(path, ACTION_COLUMNS):
        names = [row[column].strip() for column in ('verb', 'noun') if column in row]
        if not all(names):
            raise line_error(path, number, _shown(row), 'a name in each of the columns of labels')
        rows.append(ActionRow(*_where(path, number, row), tuple(names), _split(path, number, row)))
    return rows


def read_change_rows(path: Path) -> list[ChangeRow]:
    """
    Read a table of changes of state: video, start_sec, end_sec, state_change, pnr_sec.

    state_change is true or false (or 1 or 0); pnr_sec, a time of the video within the interval,
    may be empty. A column split says to which split (train, val, test) a row belongs.

    :raises ValueError: If the file or a column is missing, or a row is not of this format.
    """
    rows = []
    for number, row in table_rows(path, CHANGE_COLUMNS):
        video, start, end = _where(path, number, row)
        truth = row['state_change'].strip().lower()
        if truth not in _TRUTHS:
            raise line_error(path, number, _shown(row), 'state_change true or false')
        pnr = _time(row['pnr_sec']) if row['pnr_sec'].strip() else None
        if row['pnr_sec'].strip() and (pnr is None or not start <= pnr <= end):
            raise line_error(path, number, _shown(row), 'pnr_sec from start_sec to end_sec')
        if pnr is not None and not _TRUTHS[truth]:
            raise line_error(path, number, _shown(row), 'no pnr_sec where state_change is false')
        split = _split(path, number, row)
        rows.append(ChangeRow(video, start, end, _TRUTHS[truth], pnr, split))
    return rows


def _where(path: Path, number: int, row: Mapping[str, str]) -> tuple[str, float, float]:
    video, start, end = row['video'].strip(), _time(row['start_sec']), _time(row['end_sec'])
    if not video:
        raise line_error(path, number, _shown(row), 'the name of a video')
    if start is None or end is None or not start < end:
        expected = 'start_sec and a later end_sec, both seconds of at least 0'
        raise line_error(path, number, _shown(row), expected)
    return video, start, end


def _time(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    # A year: what is longer is no time of a video, and no number of frames to count with.
    return seconds if isfinite(seconds) and 0 <= seconds < 3.2e7 else None


def _split(path: Path, number: int, row: Mapping[str, str]) -> str | None:
    if 'split' not in row:
        return None
    split = row['split'].strip()
    if split not in SPLITS:
        raise line_error(path, number, _shown(row), f'split to be one of {", ".join(SPLITS)}')
    return split


def _shown(row: Mapping[str, str]) -> str:
    return ','.join(row.values())
