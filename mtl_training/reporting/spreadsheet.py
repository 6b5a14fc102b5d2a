"""All figures of all runs as CSV, for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import io

from mtl_training.reporting.disjoint_figures import disjoint_columns
from mtl_training.reporting.people import people_columns
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.scores import has_only_classes, mean_score, samples_of
from mtl_training.reporting.segment_figures import (
    Aggregate,
    merged_rows,
    segment_columns,
    segment_tasks,
)
from mtl_training.reporting.tables import KINDS, methods_of


def to_csv(results: Sequence[RunResult]) -> str:
    """
    Return one row per run; what a run lacks is empty.

    Columns ``samples_*`` count what was tested, ``trained_*`` what was trained on, repetitions
    included; ``score_*`` is what stands for a task of any kind, and ``mean_score`` their mean.
    Figures of captions, of several classes, of videos, of rounds, of segments and of people are
    there where a run has any.
    """
    further = [_further(run, results) for run in results]
    names = list(dict.fromkeys(name for columns in further for name in columns))
    kinds = [kind for kind in ('regime', 'row') if any(getattr(run, kind) for run in results)]
    rows = [
        _row(run, _tasks(results), {name: columns.get(name) for name in names}, kinds)
        for run, columns in zip(results, further)
    ]
    return _written(rows)


def merged_csv(results: Sequence[RunResult]) -> str:
    """
    Return the tables of tasks on windows: one row per method and figure; empty without any.

    A method that learns each task in a run of its own is one; see :func:`merged_rows`.
    """
    rows: list[dict[str, object]] = []
    for data in dict.fromkeys(run.data for run in results):
        methods = methods_of([run for run in results if run.data == data])
        runs = [run for method in methods for run in method.runs]
        aggregate = Aggregate(tuple(segment_tasks(runs)))
        for method in merged_rows(methods) if aggregate.tasks else []:
            found = {c.name: method.spread(c.value) for c in segment_columns(runs)}
            found['mean_over_tasks'] = aggregate.of(method)
            names = {'data': data, **{kind: getattr(method, kind) for kind in KINDS}}
            rows += [
                {**names, 'figure': figure, 'mean': s.mean, 'deviation': s.deviation, 'n': s.count}
                for figure, s in found.items()
                if s
            ]
    return _written(rows) if rows else ''


def _written(rows: Sequence[Mapping[str, object]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _tasks(results: Sequence[RunResult]) -> list[str]:
    return list(dict.fromkeys(task for run in results for task in run.scores))


def _further(run: RunResult, results: Sequence[RunResult]) -> dict[str, float | None]:
    columns = [*segment_columns([run]), *people_columns([run])]
    return {
        **disjoint_columns(run),
        **_scores(run, results),
        **{column.name: column.value(run) for column in columns},
    }


def _scores(run: RunResult, results: Sequence[RunResult]) -> dict[str, float | None]:
    if all(has_only_classes(one.figures) for one in results):
        return {}
    scores = {f'score_{task}': score for task, score in run.scores.items()}
    return {**scores, 'mean_score': mean_score(run.figures)}


def _row(
    run: RunResult, tasks: Sequence[str], further: Mapping[str, object], kinds: Sequence[str]
) -> dict[str, object]:
    summary, figures = run.summary, run.figures
    per_task = {'accuracy': figures.get('accuracy', {}), 'samples': samples_of(figures)}
    per_task['trained'] = summary.get('samples', {})
    # Of no classes these are 0 in the figures, and say nothing.
    overall = figures if figures.get('accuracy') else {}
    parameters = summary.get('parameters', {})
    facts = ('skipped_steps', 'step_ms', 'iteration', 'best_iteration', 'wall_sec', 'cpu_sec')
    names = ('data', 'sharing', 'weighting', *kinds, 'seed', 'status', 'split')
    return {
        **{name: getattr(run, name) for name in names},
        **{f'{k}_{task}': found.get(task) for k, found in per_task.items() for task in tasks},
        **{k: overall.get(k) for k in ('cumulative_accuracy', 'mean_accuracy')},
        **{f'parameters_{kind}': parameters.get(kind) for kind in ('training', 'deployed')},
        **{name: summary.get(name) for name in facts},
        **further,
        'folder': run.folder,
        'reason': run.reason,
    }
