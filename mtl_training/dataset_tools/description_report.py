"""A description of data sets for people: a table, notes, and a picture of the classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import math
from pathlib import Path
from statistics import median
from typing import Any
import warnings

from matplotlib import pyplot as plt
from mtl_training.dataset_tools.descriptions import SplitDescription
from mtl_training.dataset_tools.listing import printable
from mtl_training.reporting.drawing import save
import numpy as np
from rich.markup import escape
from rich.table import Column, Table

NUM_FEWEST = 5
ROWS_PER_COLUMN = 50
# Where the largest class has so many times the samples of the smallest, bars are logarithmic.
LOGARITHMIC_FROM = 50
MAX_LABEL = 32


def spread(counts: Sequence[int]) -> tuple[int, float, int]:
    """Return the smallest, the median and the largest of counts."""
    return min(counts), median(counts), max(counts)


def fewest(described: SplitDescription, count: int = NUM_FEWEST) -> list[tuple[str, int]]:
    """Return the classes with the fewest samples, fewest first."""
    pairs = list(zip(described.labels, described.counts or []))
    return sorted(pairs, key=lambda pair: pair[1])[:count]


def table_of(found: Sequence[SplitDescription]) -> Table:
    """Return what there is of each task and split."""
    columns = ('task', 'split', 'data set', 'classes', 'samples', 'per class', 'missing', 'groups')
    table = Table(*(Column(name, overflow='fold') for name in columns), title='data sets')
    for described in found:
        if described.error:
            table.add_row(described.task, described.split, described.dataset, *('-',) * 5)
            continue
        table.add_row(*(escape(printable(cell)) for cell in _row(described)))
    return table


def _row(described: SplitDescription) -> Iterator[str]:
    yield from (described.task, described.split, described.dataset, str(len(described.labels)))
    people = described.people.get('people')
    samples = f'{described.num_samples:,} {described.unit}'
    captions = described.captions.get('sentences')
    samples += '' if captions is None else f', {captions:,} captions'
    yield samples if people is None else f'{samples}, {people:,} people'
    if described.counts:
        low, middle, high = spread(described.counts)
        yield f'{low:,} / {middle:g} / {high:,}'
    else:
        yield '-'
    yield '-' if described.missing is None else f'{described.missing:,}'
    yield f'{len(described.groups):,}' if described.groups else '-'


def notes_of(found: Sequence[SplitDescription]) -> list[str]:
    """Return what else has to be said, a line each."""
    lines = []
    for described in found:
        where = f'{described.task}, {described.split}'
        if described.error:
            lines.append(f'{where}: not described: {described.error}')
        if described.missing_examples:
            shown = ', '.join(f"'{name}'" for name in described.missing_examples)
            lines.append(f'{where}: {described.missing} are missing, such as {shown}')
        lines += [f'{where}: {note}' for note in described.notes]
        if described.captions:
            different, words = described.captions['different'], described.captions['words']
            lines.append(f'{where}: {different:,} different sentences, {words:,} words')
        if described.counts and len(set(described.counts)) > 1:
            shown = ', '.join(f"'{name}' ({count:,})" for name, count in fewest(described))
            lines.append(f'{where}: classes with the fewest: {shown}')
        if described.counts is not None and described.split == 'train':
            empty = [n for n, c in zip(described.labels, described.counts) if c == 0]
            if empty:
                lines.append(f'{where}: {len(empty)} classes are never shown, such as {empty[:3]}')
    return lines


def merged_table(described: SplitDescription) -> Table | None:
    """Return the classes that are made of several, or have clips of several parts; if any."""
    rows = [
        (label, members, described.origins.get(label, {}))
        for label, members in described.members.items()
        if len(members) > 1
    ]
    if not rows:
        return None
    title = f'{described.task}, {described.split}: merged classes'
    table = Table('class', 'made of', 'clips of each part', title=title)
    for label, members, origins in rows:
        counts = ', '.join(f'{part}: {count:,}' for part, count in origins.items())
        table.add_row(*(escape(printable(cell)) for cell in (label, ', '.join(members), counts)))
    return table


def json_of(found: Sequence[SplitDescription]) -> list[dict[str, Any]]:
    """Return the descriptions as plain values."""
    result = []
    for described in found:
        facts: dict[str, Any] = {
            name: getattr(described, name)
            for name in (
                *('task', 'split', 'dataset', 'unit', 'num_samples', 'missing', 'people'),
                'captions',
            )
        }
        per_label = dict(zip(described.labels, described.counts or []))
        facts |= {
            'num_classes': len(described.labels),
            'per_class': per_label if described.counts is not None else None,
            'labels': list(described.labels),
            'fewest': fewest(described),
            'num_groups': len(described.groups),
            'missing_examples': described.missing_examples,
            'merged': {n: m for n, m in described.members.items() if len(m) > 1},
            'origins': described.origins,
            'notes': described.notes,
            'error': described.error or None,
        }
        if described.counts:
            low, middle, high = spread(described.counts)
            facts |= {'min': low, 'median': middle, 'max': high}
        result.append(facts)
    return result


def draw(found: Sequence[SplitDescription], folder: Path) -> list[Path]:
    """
    Draw the samples per class and split of each task, and return the pictures.

    Classes stand in columns, from the one with the most samples to that with the fewest.
    """
    paths = []
    for task in dict.fromkeys(d.task for d in found):
        splits = [d for d in found if d.task == task and d.counts]
        if splits:
            path = folder / f'classes_{task}.png'
            _draw_task(task, splits, path)
            paths.append(path)
    return paths


def _draw_task(task: str, splits: Sequence[SplitDescription], path: Path) -> None:
    labels = splits[0].labels
    counts = np.array(
        [dict(zip(d.labels, d.counts or [])).get(n, 0) for d in splits for n in labels]
    )
    counts = counts.reshape(len(splits), len(labels))
    order = np.argsort(-counts[0], kind='stable')
    num_columns = math.ceil(len(labels) / ROWS_PER_COLUMN)
    rows = math.ceil(len(labels) / num_columns)
    height = 1.2 + rows * (0.11 * len(splits) + 0.08)
    size = (max(5.0, 3.4 * num_columns), height)
    figure, axes = plt.subplots(1, num_columns, figsize=size, squeeze=False, sharex=True)
    for column, axis in enumerate(axes.flat):
        shown = order[column * rows : (column + 1) * rows]
        _draw_bars(axis, [str(labels[i]) for i in shown], counts[:, shown], rows)
    positive = counts[counts > 0]
    if len(positive) and positive.max() >= LOGARITHMIC_FROM * positive.min():
        axes.flat[0].set_xscale('log')
    shown_unit = 'clips' if splits[0].unit == 'clips' else _unit_of(splits[0])
    names = [f'{d.split}: {sum(d.counts or []):,}' for d in splits]
    # Above the axes, whatever the height: positions are shares of it.
    place: dict[str, Any] = {'loc': 'lower left', 'bbox_to_anchor': (0.0, 1.0), 'fontsize': 8}
    figure.legend(axes.flat[0].containers, names, ncols=len(names), **place)
    title = f'{task} ({splits[0].dataset}): {shown_unit} of {len(labels)} classes'
    figure.text(0.01, 1 + 0.42 / height, title.replace('$', r'\$'), fontsize=11)
    with warnings.catch_warnings():
        # Names may be in any script, also in one that the font lacks.
        warnings.filterwarnings('ignore', message='Glyph', category=UserWarning)
        save(figure, path)


def _draw_bars(axis: Any, names: Sequence[str], counts: Any, rows: int) -> None:
    places, thickness = np.arange(len(names)), 0.84 / len(counts)
    for i, values in enumerate(counts):
        shift = (i - (len(counts) - 1) / 2) * thickness
        axis.barh(places + shift, values, thickness, color=f'C{i}')
    short = [name if len(name) <= MAX_LABEL else f'{name[: MAX_LABEL - 1]}…' for name in names]
    # Names are text: a dollar sign begins no formula.
    axis.set_yticks(places, [printable(name).replace('$', r'\$') for name in short], fontsize=7)
    axis.set_ylim(rows - 0.5, -0.5)
    axis.tick_params(axis='x', labelsize=7)
    axis.grid(axis='x', linewidth=0.4)
    axis.set_axisbelow(True)


def _unit_of(described: SplitDescription) -> str:
    return 'people' if len(described.labels) == 1 or 'nose' not in described.labels else 'joints'
