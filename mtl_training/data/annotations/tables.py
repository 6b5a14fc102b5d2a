"""Reading tables and JSON of other people, so that what is wrong in them is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import csv
import json
from math import isfinite
from pathlib import Path
from typing import Any

from mtl_training.data.video_sets.lists import line_error


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """
    Yield the rows of a table of comma-separated values, each with the number of its first line.

    Values may be quoted and hold commas and line breaks; blank rows are skipped.

    :param path: The file; its first row names the columns, in any order.
    :param columns: Those that it must have; others are allowed.
    :raises ValueError: If the file or a column is missing, or a row has another number of values.
    """
    expected = f'a row of columns {", ".join(columns)}'
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists; expected {expected}.")
    header: list[str] | None = None
    with path.open(encoding='utf-8-sig', errors='replace', newline='') as file:
        for number, cells in _numbered(path, file):
            if header is None:
                header = [cell.strip() for cell in cells]
                if not set(columns) <= set(header):
                    raise line_error(path, number, ','.join(cells), expected)
            elif len(cells) != len(header):
                raise line_error(path, number, ','.join(cells), f'{len(header)} values')
            else:
                yield number, dict(zip(header, cells))
    if header is None:
        raise ValueError(f"'{path}' is empty; expected {expected}.")


def load_entries(path: Path, key: str) -> list[Any]:
    """
    Return a list that a JSON file holds under a key.

    :raises ValueError: If the file is not JSON or holds no such list.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig', errors='replace'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"'{path}' must hold a list of '{key}'.")
    return entries


def number_of(where: str, entry: Any, key: str) -> float:
    """
    Return a finite number that an entry must have.

    :param where: The file and the place of the entry in it, for messages.
    :raises ValueError: If it is missing or something else.
    """
    value = optional_number(where, entry, key)
    if value is None:
        raise ValueError(f"{where} must have a number '{key}', got {str(entry)[:120]}.")
    return value


def count_of(where: str, entry: Any, key: str) -> int:
    """
    Return a number that is whole and not negative.

    :raises ValueError: If it is missing or something else.
    """
    value = number_of(where, entry, key)
    if value < 0 or value != int(value):
        raise ValueError(f'{where}: {key} must be whole and at least 0, got {value}.')
    return int(value)


def optional_number(where: str, entry: Any, key: str) -> float | None:
    """
    Return a finite number, or ``None`` where it is absent, null or not a number (NaN).

    :raises ValueError: If it is something else.
    """
    value = _value(where, entry, key)
    if value is None or (isinstance(value, float) and value != value):
        return None
    # Whole numbers of JSON have no limit; one beyond a float's would raise another error below.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or abs(value) > 1e300 or not isfinite(value):
        raise ValueError(f'{where}: {key} must be a finite number, got {str(value)[:80]!r}.')
    return float(value)


def text_of(where: str, entry: Any, key: str) -> str:
    """
    Return a text that an entry must have.

    :raises ValueError: If it is missing, empty or something else.
    """
    value = optional_text(where, entry, key)
    if not value:
        raise ValueError(f"{where} must have a text '{key}', got {str(entry)[:120]}.")
    return value


def optional_text(where: str, entry: Any, key: str) -> str | None:
    """
    Return a text, or ``None`` where it is absent or null.

    :raises ValueError: If it is something else.
    """
    value = _value(where, entry, key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f'{where}: {key} must be a text, got {str(value)[:80]!r}.')
    return value


def _value(where: str, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be an object with '{key}', got {str(entry)[:120]}.")
    return entry.get(key)


def _numbered(path: Path, file: Any) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"'{path}', line {number}: expected values in quotes, {error}."
            ) from error
        if any(cell.strip() for cell in cells):
            yield number, cells
