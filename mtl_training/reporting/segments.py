"""What a report says of tasks on windows of features: the tables of learning a novel task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
import math
from pathlib import Path
import re

from mtl_training.reporting.columns import Column, figure_table, labels_of
from mtl_training.reporting.document import Block, Details, Heading, Paragraph, Table
from mtl_training.reporting.drawing import Pictures
from mtl_training.reporting.round_figures import draw_grid
from mtl_training.reporting.run_result import RunResult, Spread, spread
from mtl_training.reporting.segment_figures import (
    Aggregate,
    merged_rows,
    segment_columns,
    segment_tasks,
    trained_tasks,
)
from mtl_training.reporting.tables import best_cells, Method, NONE, shown_spread

# Settings of a backpack with a picture of their own, and their defaults.
INTERACTION = {'k': 4, 'depth': 3}
UNITS = {'share': ('%', 100, 2), 'distance': ('', 1, 3), 'seconds': ('s', 1, 2)}

RESULTS = (
    'Accuracies in %, the action at the centre of a window; ED: the normalised edit distance of '
    'the actions that follow, the best of five drawn sequences; error: the distance to the point '
    'of no return. ↑: more is better, ↓: less is. A method that learns each task in a run of its '
    'own, such as one with a backpack, is one row: the figures of a task are of the runs that '
    'learn it. n: seeds.'
)
AGGREGATE = (
    'The mean over all tasks of accuracy, one minus edit distance and one minus error (of one '
    'second at most), groups of labels first. Gains are relative, in %. Only seeds with all tasks '
    'count.'
)
NOVEL = (
    'A task learnt after the others, against one network that learns all of them at once: the '
    'difference of the figures, a mean over seeds that both have ± one standard error. In points '
    'of %, edit distance and seconds; + is more, not always better, see the arrows.'
)
SUBSETS = (
    'Which tasks a network was trained on together (✓), and what each of them reached: where a '
    'subset is better than all, tasks stand in the way of each other.'
)


def segment_blocks(methods: Sequence[Method], pictures: Pictures) -> list[Block]:
    """Return tables and heat maps; nothing where there are no tasks on windows."""
    runs = [run for method in methods for run in method.runs]
    tasks = tuple(segment_tasks(runs))
    if not tasks:
        return []
    columns, aggregate = segment_columns(runs), Aggregate(tasks)
    rows = [row for row in merged_rows(methods) if any(_has(row, c) for c in columns)]
    blocks: list[Block] = [
        Heading(3, 'Windows of features'),
        Paragraph(RESULTS),
        figure_table(rows, columns),
    ]
    if any(aggregate.of(row) for row in rows):
        blocks += [
            Heading(3, 'All tasks together'),
            Paragraph(AGGREGATE),
            aggregate_table(rows, aggregate),
        ]
    if gains := gain_table(rows, columns, tasks):
        blocks += [Heading(3, 'A novel task after the others'), Paragraph(NOVEL), gains]
    if subsets := subset_table(rows, columns, tasks):
        blocks += [Heading(3, 'Subsets of tasks'), Paragraph(SUBSETS), subsets]
    return blocks + _heat_maps(rows, columns, aggregate, pictures)


def aggregate_table(rows: Sequence[Method], aggregate: Aggregate) -> Table:
    """Return the mean over tasks and its gains over the baselines that there are."""
    names, found = labels_of(rows), [aggregate.of(row) for row in rows]
    baselines = [row for row in (_mlp(rows), _alone(rows, aggregate)) if row is not None]
    means = {row.name: value.mean for row, value in zip(rows, found) if value}
    header = ['method', 'mean over tasks % ↑']
    header += [f'gain over {names[row.name]} %' for row in baselines] + ['n']
    cells = [
        [
            names[row.name],
            shown_spread(value),
            *(_gain(row, base, means) for base in baselines),
            str(value.count if value else 0),
        ]
        for row, value in zip(rows, found)
    ]
    return Table(header, cells, best_cells([[None, v.mean if v else None] for v in found]))


def gain_table(
    rows: Sequence[Method], columns: Sequence[Column], tasks: Sequence[str]
) -> Table | None:
    """Return what methods that learn a task after others gain over learning all at once."""
    reference = _multi_task(rows, tasks)
    others = [row for row in rows if row is not reference and _learns_after(row)]
    if reference is None or not others:
        return None
    names = labels_of(rows)
    header = ['method', *(_short(column) for column in columns)]
    cells, signed = [], []
    for row in others:
        found = [_difference(row, reference, column) for column in columns]
        shown = [_shown(value, column) for value, column in zip(found, columns)]
        cells.append([names[row.name], *shown])
        signed.append([None, *(c.sign * v.mean if v else None for v, c in zip(found, columns))])
    title = f'against {names[reference.name]}'
    return Table([title, *header[1:]], cells, best_cells(signed))


def subset_table(
    rows: Sequence[Method], columns: Sequence[Column], tasks: Sequence[str]
) -> Table | None:
    """Return the figures of networks of some of the tasks; None where all have the same."""
    shared = [row for row in rows if not _learns_after(row) and not _is_private(row)]
    sets = {row.name: trained_tasks(row, tasks) for row in shared}
    shared = [row for row in shared if len(sets[row.name]) == 1]
    if len({sets[row.name][0] for row in shared}) < 2:
        return None
    shared.sort(key=lambda row: len(sets[row.name][0]))
    table = figure_table(shared, columns, labels_of(rows))
    ticks = [['✓' if task in sets[row.name][0] else NONE for task in tasks] for row in shared]
    cells = [[row[0], *marks, *row[1:]] for row, marks in zip(table.rows, ticks)]
    bold = frozenset((i, j + len(tasks)) for i, j in table.bold)
    header = [table.header[0], *tasks, *table.header[1:]]
    return Table(header, cells, bold, num_names=1 + len(tasks))


def interaction_grids(rows: Sequence[Method]) -> list[dict[tuple[float, float], Method]]:
    """Return the methods that differ in their (k, depth) alone, two or more of each kind."""
    grids: dict[tuple[str, str, str], dict[tuple[float, float], Method]] = {}
    for row in rows:
        config = row.runs[0].config
        if config is None or not row.runs[0].novel:
            continue
        place = tuple(config.regime.settings.get(n, usual) for n, usual in INTERACTION.items())
        rest = re.sub(r'(, )?\b(k|depth)=[^ ,)]+', '', row.regime).replace('(, ', '(')
        key = (row.sharing, row.weighting, ' '.join(rest.replace('()', '').split()))
        grids.setdefault(key, {})[place] = row
    return [grid for grid in grids.values() if len(grid) > 1]


def _heat_maps(
    rows: Sequence[Method], columns: Sequence[Column], aggregate: Aggregate, pictures: Pictures
) -> list[Block]:
    blocks: list[Block] = []
    for grid in interaction_grids(rows):
        drawn: list[Block] = []
        values = {place: value.mean for place, row in grid.items() if (value := aggregate.of(row))}
        draw = partial(_draw, values=values, title='mean over tasks', unit='share', sign=1)
        drawn += pictures.draw(draw, 'Mean over tasks, by k and depth.')
        for column in columns:
            values = {p: s.mean for p, row in grid.items() if (s := row.spread(column.value))}
            about = {'title': column.title, 'unit': column.unit, 'sign': column.sign}
            draw = partial(_draw, values=values, **about)  # type: ignore[arg-type]
            drawn += pictures.draw(draw, f'{column.title}, by k and depth, mean over seeds.')
        first = next(iter(grid.values()))
        title = f'{len(grid)} pairs of k and depth: {first.name} and others'
        blocks.append(Details(title, drawn))
    return [Heading(3, 'Prototypes matched, and layers'), *blocks] if blocks else []


def _draw(
    path: Path, *, values: dict[tuple[float, float], float], title: str, unit: str, sign: int
) -> bool:
    if len(values) < 2:
        return False
    shown, factor, digits = UNITS[unit]
    grid = {place: factor * value for place, value in values.items()}
    draw_grid(grid, path, title=title, axes=('k', 'depth'), unit=shown, digits=digits, sign=sign)
    return True


def _has(row: Method, column: Column) -> bool:
    return row.spread(column.value) is not None


def _trunks(run: RunResult) -> list[object]:
    if run.config is None:
        return []
    graphs = (getattr(trunk, 'graph', None) for trunk in run.config.network.trunks.values())
    return [graph for graph in graphs if graph is not None]


def _mlp(rows: Sequence[Method]) -> Method | None:
    """Return the baseline that pools features and has no graph; first those that share nothing."""
    found = [
        row
        for row in rows
        if any(getattr(graph, 'num_layers', 1) == 0 for graph in _trunks(row.runs[0]))
    ]
    return min(found, key=lambda row: not _is_private(row), default=None)


def _alone(rows: Sequence[Method], aggregate: Aggregate) -> Method | None:
    """Return the method whose tasks share nothing, not even a run."""
    mlp = _mlp(rows)
    found = [row for row in rows if row is not mlp and _is_private(row) and not _learns_after(row)]
    return next((row for row in found if aggregate.of(row)), None)


def _multi_task(rows: Sequence[Method], tasks: Sequence[str]) -> Method | None:
    """Return the first method with one network of all tasks, learnt at once."""
    mlp = _mlp(rows)
    return next(
        (
            row
            for row in rows
            if row is not mlp
            and not _learns_after(row)
            and not _is_private(row)
            and trained_tasks(row, tasks) == [frozenset(tasks)]
        ),
        None,
    )


def _learns_after(row: Method) -> bool:
    names = {run.config.regime.name for run in row.runs if run.config}
    return any(run.novel for run in row.runs) or 'task_translation' in names


def _is_private(row: Method) -> bool:
    """Tell whether no two tasks of a method ever share anything."""
    alone = all(len(run.summary.get('samples', {})) == 1 for run in row.runs)
    return alone or all(run.sharing_methods == {'single_task'} for run in row.runs)


def _gain(row: Method, base: Method, means: dict[str, float]) -> str:
    if row is base or row.name not in means or not means.get(base.name):
        return NONE
    return f'{100 * (means[row.name] / means[base.name] - 1):+.2f}'


def _difference(row: Method, reference: Method, column: Column) -> Spread | None:
    ours, theirs = (
        {run.seed: value for run in one.runs if (value := column.value(run)) is not None}
        for one in (row, reference)
    )
    return spread([value - theirs[seed] for seed, value in ours.items() if seed in theirs])


def _shown(difference: Spread | None, column: Column) -> str:
    if difference is None:
        return NONE
    _, factor, digits = UNITS[column.unit]
    text = f'{factor * difference.mean:+.{digits}f}'
    if difference.deviation is None:
        return text
    error = factor * difference.deviation / math.sqrt(difference.count)
    return f'{text} ± {error:.{digits}f}'


def _short(column: Column) -> str:
    return f'{column.title} {"↑" if column.sign > 0 else "↓"}'
