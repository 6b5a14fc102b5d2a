"""Tables that fit a terminal: those too wide for it are printed as several, by their columns."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_table(console: Console, table: Table, *, num_names: int = 1) -> None:
    """
    Print a table so that no cell is broken, if its names and any one column fit a line.

    :param num_names: Columns at the left that every part repeats.
    """
    parts = fitting_parts(console, table, num_names)
    for part in parts:
        console.print(part)


def fitting_parts(console: Console, table: Table, num_names: int = 1) -> list[Table]:
    """Return a table as one or several that fit the console, each with the columns of names."""
    count = len(table.columns)
    if _fits(console, table) or count <= num_names + 1:
        return [table]
    names, groups = list(range(num_names)), [list[int]()]
    for column in range(num_names, count):
        if groups[-1] and not _fits(console, _part(table, [*names, *groups[-1], column])):
            groups.append([])
        groups[-1].append(column)
    parts = [_part(table, [*names, *group]) for group in groups]
    for part in parts[1:]:
        part.title = None
    for part in parts[:-1]:
        part.caption = None
    return parts


def _fits(console: Console, table: Table) -> bool:
    options = console.options.update(max_width=10_000)
    return Measurement.get(console, options, table).maximum <= console.width


def _part(table: Table, columns: list[int]) -> Table:
    part = Table(title=table.title, caption=table.caption, show_header=table.show_header)
    cells = [list(table.columns[column].cells) for column in columns]
    for column in columns:
        part.columns.append(table.columns[column].copy())
    for number, row in enumerate(table.rows):
        part.add_row(*(column[number] for column in cells), end_section=row.end_section)
    return part
