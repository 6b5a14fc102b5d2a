"""Figures of the tasks on windows of features, and methods whose runs share a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import re
from statistics import fmean
from typing import Any

from mtl_training.reporting.columns import Column
from mtl_training.reporting.run_result import RunResult, Spread, spread
from mtl_training.reporting.tables import Method

Figure = Callable[[RunResult], float | None]
# Kinds of tasks in the order of the columns of the source's tables, by the figure that tells them.
GROUPED, CHANGE, DISTANCE, ERROR = 'accuracy of groups', 'accuracy', 'edit_distance', 'error_sec'
ORDER = (GROUPED, CHANGE, DISTANCE, ERROR)


def kind_of(row: Mapping[str, Any]) -> str:
    """Return which of the figures the row of a task has."""
    if isinstance(row.get('accuracy'), Mapping):
        return GROUPED
    return next((name for name in ORDER if name in row), '')


def segment_tasks(runs: Sequence[RunResult]) -> dict[str, str]:
    """Return the tasks on windows with their kinds, in the order of the tables."""
    rows = {t: row for run in runs for t, row in run.figures.get('segments', {}).items()}
    kinds = {task: kind for task, row in rows.items() if (kind := kind_of(row))}
    return dict(sorted(kinds.items(), key=lambda pair: ORDER.index(pair[1])))


def segment_columns(runs: Sequence[RunResult]) -> list[Column]:
    """Return the figures of all tasks on windows, one column per group of labels."""
    columns: list[Column] = []
    for task, kind in segment_tasks(runs).items():
        if kind in (GROUPED, DISTANCE):
            name = 'accuracy' if kind == GROUPED else DISTANCE
            rows = [run.figures.get('segments', {}).get(task, {}).get(name, {}) for run in runs]
            groups = dict.fromkeys(group for row in rows for group in row)
            columns += [_column(task, kind, group) for group in groups]
        else:
            columns.append(_column(task, kind))
    return columns


def task_score(run: RunResult, task: str) -> float | None:
    """
    Return what a task counts for in the mean over tasks, the higher the better.

    Its accuracy; one minus its edit distance, or minus its error in seconds, which is one at most.
    The figures of label groups are averaged first.
    """
    row = _row(run, task)
    kind = kind_of(row)
    if kind == GROUPED:
        return fmean(row['accuracy'].values())
    if kind == DISTANCE:
        return 1 - fmean(row[DISTANCE].values())
    if kind == ERROR:
        return 1 - min(row[ERROR], 1.0)
    return row[CHANGE] if kind else None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The mean over tasks, of the runs of one method that together have all of them."""

    tasks: tuple[str, ...]

    def by_seed(self, method: Method) -> dict[int, float]:
        """Return the mean for each seed that has all tasks."""
        found: dict[int, dict[str, float]] = {}
        for run in method.runs:
            for task in self.tasks:
                if (score := task_score(run, task)) is not None:
                    found.setdefault(run.seed, {})[task] = score
        return {s: fmean(v.values()) for s, v in found.items() if len(v) == len(self.tasks)}

    def of(self, method: Method) -> Spread | None:
        """Return mean and deviation over seeds; None where no seed has all tasks."""
        return spread(list(self.by_seed(method).values()))


def merged_rows(methods: Sequence[Method]) -> list[Method]:
    """
    Return the methods, those that learn each task in a run of its own as one.

    They are those of one row, or whose names differ in the novel task alone. Where two of them
    have a figure for the same task and seed, they are different experiments and stay apart.
    """
    groups: dict[tuple[str, str, str], list[Method]] = {}
    for method in methods:
        key = (method.sharing, method.weighting, row_name(method))
        groups.setdefault(key, []).append(method)
    rows: list[Method] = []
    for (sharing, weighting, regime), parts in groups.items():
        if len(parts) > 1 and _overlap(parts):
            rows += parts
        else:
            runs = [run for part in parts for run in part.runs]
            rows.append(Method(sharing, weighting, runs, regime))
    return rows


def row_name(method: Method) -> str:
    """Return the name of the regime without the novel task."""
    run = method.runs[0]
    if run.row:
        return run.row
    if not run.novel:
        return method.regime
    # As entries of a grid call it, or as differences between configs are told.
    text = re.sub(rf'(, |(?<=\()| )novel={re.escape(run.novel)}(?=[ ,)]|$)', '', method.regime)
    return text.replace('(, ', '(').replace(' ()', '').strip()


def trained_tasks(method: Method, tasks: Sequence[str]) -> list[frozenset[str]]:
    """Return which of the tasks on windows each run was trained on, every set once."""
    sets = (frozenset(run.summary.get('samples', {})) & frozenset(tasks) for run in method.runs)
    return list(dict.fromkeys(found for found in sets if found))


def _overlap(parts: Sequence[Method]) -> bool:
    cells = [
        (task, seed)
        for part in parts
        for task, seed in {
            (t, r.seed) for r in part.runs for t in segment_tasks([r]) if _row(r, t)
        }
    ]
    return len(cells) != len(set(cells))


def _row(run: RunResult, task: str) -> Mapping[str, Any]:
    """Return the figures of a task; none of a known one that was trained for the novel one."""
    if run.novel and run.novel != task:
        return {}
    found: Mapping[str, Any] = run.figures.get('segments', {}).get(task, {})
    return found


def _column(task: str, kind: str, group: str = '') -> Column:
    def value(run: RunResult) -> float | None:
        found = _row(run, task).get('accuracy' if kind == GROUPED else kind)
        if group:
            return (found or {}).get(group)
        return found  # type: ignore[no-any-return]

    name = 'accuracy' if kind == GROUPED else kind
    title = {GROUPED: task, CHANGE: task, DISTANCE: f'{task} ED', ERROR: f'{task} error'}[kind]
    unit = {DISTANCE: 'distance', ERROR: 'seconds'}.get(kind, 'share')
    sign = -1 if kind in (DISTANCE, ERROR) else 1
    names = [part for part in (name, task, group) if part]
    shown = f'{title} {group}'.strip()
    return Column('_'.join(names), shown, value, unit, sign, arrow=True)
