"""An audit for people: a file for a spreadsheet, a contact sheet, a table."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from mtl_training.audit import TaskAudit
import numpy as np
from rich.markup import escape
from rich.table import Table

_SHEET_COLUMNS, _SHEET_CLIPS = 2, 40
_TITLE_INCHES = 0.35
_HEADERS = {
    'sigma_squared': 'σ²',
    'probability': 'p',
    'corrupted': 'wrong',
}


def rows(audit: TaskAudit) -> list[dict[str, Any]]:
    """Return a row per clip; columns that the data set knows nothing of are left out."""
    unknown = {
        name
        for name, empty in (('source', ''), ('corrupted', None))
        if all(getattr(suspect, name) == empty for suspect in audit.suspects)
    }
    return [
        {'rank': rank} | {k: v for k, v in asdict(suspect).items() if k not in unknown}
        for rank, suspect in enumerate(audit.suspects, 1)
    ]


def write_csv(audit: TaskAudit, path: Path) -> None:
    """Write a row per clip, by falling ``s``, and among equal ones by rising probability."""
    table = rows(audit)
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)


def draw_contact_sheet(audit: TaskAudit, path: Path) -> None:
    """Draw a few frames of each of the first clips, with its label and the network's."""
    suspects = audit.suspects[:_SHEET_CLIPS]
    num_rows = -(-len(suspects) // _SHEET_COLUMNS)
    _, num_frames, height, width, _ = audit.thumbnails.shape
    across = 6.0  # inches
    down = across * height / (num_frames * width) + _TITLE_INCHES
    figure, axes = plt.subplots(
        num_rows, _SHEET_COLUMNS, figsize=(across * _SHEET_COLUMNS, down * num_rows), squeeze=False
    )
    for axis in axes.flat:
        axis.axis('off')
    for rank, (axis, suspect, frames) in enumerate(zip(axes.flat, suspects, audit.thumbnails), 1):
        axis.imshow(np.concatenate(list(frames.numpy()), axis=1))
        title = f'{rank}. clip {suspect.index}: {suspect.label}; s = {suspect.s:.2f}; '
        title += f'network: {suspect.predicted} {suspect.probability:.0%}'
        axis.set_title(title, fontsize=10, color='darkred' if suspect.corrupted else 'black')
    # Room for a title above each; tight_layout() takes seconds for as many.
    title_height = _TITLE_INCHES / (down * num_rows)
    figure.subplots_adjust(0.01, 0, 0.99, 1 - title_height, 0.02, _TITLE_INCHES / down)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table_of(audit: TaskAudit) -> Table:
    """Return the table to print."""
    title = f'{audit.task}: labels trusted least, of {audit.num_samples} clips'
    table = Table(title=f'{title} seen {audit.visits:.1f} times each')
    # What breaks ties is for the file: a terminal is narrow.
    shown = [{k: v for k, v in row.items() if k != 'label_probability'} for row in rows(audit)]
    for name in shown[0]:
        number = name in ('rank', 'index', 's', 'sigma_squared', 'probability')
        # Long paths are what gives way.
        table.add_column(
            _HEADERS.get(name, name),
            justify='right' if number else 'left',
            no_wrap=name != 'source',
        )
    for row in shown:
        table.add_row(*(f'{v:.2f}' if isinstance(v, float) else _word(v) for v in row.values()))
    return table


def summary_of(audit: TaskAudit) -> dict[str, Any]:
    """Return the audit as JSON values."""
    facts: dict[str, Any] = {'num_samples': audit.num_samples, 'visits': audit.visits}
    if audit.num_corrupted is not None:
        facts |= {'num_corrupted': audit.num_corrupted, 'found': audit.found}
    return {**facts, 'suspects': rows(audit)}


def _word(value: Any) -> str:
    # Names of labels and files may look like rich's markup.
    return ('yes' if value else 'no') if isinstance(value, bool) else escape(str(value))
