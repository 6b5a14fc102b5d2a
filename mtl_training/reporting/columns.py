"""Columns of figures, and tables of methods that have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mtl_training.reporting.document import Table
from mtl_training.reporting.run_result import RunResult, Spread
from mtl_training.reporting.tables import best_cells, KINDS, Method, NONE, shown_spread

DIGITS = {'rank': 1, 'distance': 3, 'seconds': 2}  # behind the point


class Column(NamedTuple):
    """
    A column of a table of runs.

    :param name: In spreadsheets.
    :param value: Of a run; None where it has none.
    :param unit: share (shown in %), rank, count, distance or seconds.
    :param sign: 1 where more is better, -1 where less is, 0 where it is no matter.
    """

    name: str
    title: str
    value: Callable[[RunResult], float | None]
    unit: str = 'share'
    sign: int = 1
    arrow: bool = False  # whether the title tells what is better


def figure_table(
    methods: Sequence[Method], columns: Sequence[Column], names: Mapping[str, str] | None = None
) -> Table:
    """
    Return mean and standard deviation over seeds; the best of each column is bold.

    :param names: What methods are called, if not by what they do not have in common.
    """
    names = names or labels_of(methods)
    rows: list[list[str]] = []
    values: list[list[float | None]] = []
    for method in methods:
        found = [method.spread(column.value) for column in columns]
        cells = [_cell(c, s, method) for c, s in zip(columns, found)]
        seeds = len({run.seed for run in method.runs})
        rows.append([names[method.name], *cells, str(seeds)])
        signed = [c.sign * s.mean if s and c.sign else None for c, s in zip(columns, found)]
        values.append([None, *signed])
    header = ['method', *map(_title, columns), 'n']
    return Table(header, rows, best_cells(values))


def labels_of(methods: Sequence[Method]) -> dict[str, str]:
    """Return short names: what methods have in common is left out."""
    varied = [kind for kind in KINDS if len({getattr(m, kind) for m in methods}) > 1]
    return {
        m.name: ' / '.join(filter(None, (getattr(m, kind) for kind in varied))) or m.name
        for m in methods
    }


def at(*path: str) -> Callable[[RunResult], float | None]:
    """Return what reads a figure of a run at a path; None where it has none."""

    def value(run: RunResult) -> float | None:
        found: Any = run.figures
        for part in path:
            found = (found or {}).get(part)
        return found  # type: ignore[no-any-return]

    return value


def known(columns: Sequence[Column], runs: Sequence[RunResult]) -> list[Column]:
    """Return the columns that a run has a figure for."""
    return [c for c in columns if any(c.value(run) is not None for run in runs)]


def _title(column: Column) -> str:
    unit = {'share': ' %', 'seconds': ' s'}.get(column.unit, '')
    arrow = {1: ' ↑', -1: ' ↓'}.get(column.sign, '') if column.arrow else ''
    return f'{column.title}{unit}{arrow}'


def _cell(column: Column, found: Spread | None, method: Method) -> str:
    if found is None:
        return NONE
    if column.unit == 'share':
        return shown_spread(found)
    if (digits := DIGITS.get(column.unit)) is not None:
        spread = '' if found.deviation is None else f' ± {found.deviation:.{digits}f}'
        return f'{found.mean:.{digits}f}{spread}'
    counts = sorted({v for run in method.runs if (v := column.value(run)) is not None})
    return ' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
