"""What a check found, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from mtl_training.dataset_tools.checking import Checked, HARMLESS, KINDS
from mtl_training.dataset_tools.inspection import FileFacts
from mtl_training.dataset_tools.listing import printable
from rich.markup import escape
from rich.table import Column, Table

MAX_SHOWN = 10  # of each kind
NUM_COMMON = 5


def statistics_of(checked: Checked) -> list[dict[str, Any]]:
    """Return the sizes, rates, lengths and bytes of the files of each task and split."""
    by_part: dict[tuple[str, str], dict[str, FileFacts]] = {}
    for one in checked.listed:
        by_part.setdefault((one.task, one.split), {})[one.path] = checked.files[one.path]
    return [
        {'task': task, 'split': split, **_statistics([*files.values()])}
        for (task, split), files in by_part.items()
    ]


def _statistics(files: Sequence[FileFacts]) -> dict[str, Any]:
    decoded = [facts for facts in files if facts.num_frames]
    sizes = Counter(f'{f.size[0]}x{f.size[1]}' for f in decoded if f.size)
    rates = Counter(f'{f.rate_hz:.4g}' for f in decoded if f.rate_hz)
    return {
        'files': len(files),
        'bytes': sum(facts.num_bytes for facts in files),
        'resolutions': dict(sizes.most_common()),
        'rates_hz': dict(rates.most_common()),
        'frames': _spread([facts.num_frames for facts in decoded]),
        'duration_sec': _spread([f.duration_sec for f in decoded if f.duration_sec is not None]),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = {'min': min(values), 'median': median(values), 'max': max(values)}
    return {name: round(v, 3) for name, v in (found | {'total': sum(values)}).items()}


def json_of(checked: Checked) -> dict[str, Any]:
    """Return all of it as plain values."""
    return {
        'num_files': len(checked.files),
        'counts': dict(Counter(problem.kind for problem in checked.problems)),
        'problems': [asdict(problem) for problem in checked.problems],
        'statistics': statistics_of(checked),
        'unchecked': checked.unchecked,
    }


def statistics_table(checked: Checked) -> Table:
    """Return a row per task and split."""
    columns = ('task', 'split', 'files', 'MB', 'pixels', 'frames/s', 'frames', 'seconds', 'hours')
    table = Table(
        *(Column(name, overflow='fold') for name in columns),
        title='files, as they decode (min / median / max)',
    )
    for row in statistics_of(checked):
        duration = row['duration_sec']
        hours = f'{duration["total"] / 3600:.2f}' if duration else '-'
        cells = (
            row['task'],
            row['split'],
            f'{row["files"]:,}',
            f'{row["bytes"] / 1e6:,.1f}',
            _common(row['resolutions']),
            _common(row['rates_hz']),
            _range(row['frames']),
            _range(duration),
            hours,
        )
        table.add_row(*map(escape, cells))
    return table


def _common(counts: dict[str, int]) -> str:
    shown = [f'{name} ({count:,})' for name, count in list(counts.items())[:NUM_COMMON]]
    more = len(counts) - len(shown)
    return ', '.join(shown + ([f'{more} more'] if more else [])) or '-'


def _range(spread: dict[str, float] | None) -> str:
    return ' / '.join(f'{spread[n]:g}' for n in ('min', 'median', 'max')) if spread else '-'


def num_real(checked: Checked) -> int:
    """Return the number of problems that are not harmless."""
    return sum(problem.kind not in HARMLESS for problem in checked.problems)


def verdict_of(checked: Checked) -> str:
    """Return the last line: how many files there are, and how many problems."""
    real = num_real(checked)
    text = f'{counted(len(checked.files), "file")}, {counted(real, "problem")}'
    harmless = len(checked.problems) - real
    return text + (f', {counted(harmless, "harmless frame count")} off by one' if harmless else '')


def counted(count: int, noun: str) -> str:
    """Return a number and what it counts, which takes an s for more than one."""
    return f'{count:,} {noun}' + ('' if count == 1 else 's')


def problems_table(checked: Checked) -> Table:
    """Return the problems, worst first, some of each kind; of what is harmless, how many."""
    columns = ('problem', 'task', 'split', 'file', 'detail')
    table = Table(*(Column(name, overflow='fold') for name in columns), title='problems')
    for kind, meaning in KINDS.items():
        found = [problem for problem in checked.problems if problem.kind == kind]
        if not found:
            continue
        table.add_row(f'[bold]{kind}: {len(found):,}[/bold]', '', '', '', meaning)
        for one in [] if kind in HARMLESS else found[:MAX_SHOWN]:
            cells = (one.task, one.split, one.path, one.detail)
            table.add_row('', *(escape(printable(cell)) for cell in cells))
        if len(found) > MAX_SHOWN and kind not in HARMLESS:
            table.add_row('', '', '', f'and {len(found) - MAX_SHOWN:,} more', '')
        table.add_section()
    return table
