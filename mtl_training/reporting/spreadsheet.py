"""All figures of all runs as CSV, for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import io

from mtl_training.reporting.disjoint_figures import disjoint_columns
from mtl_training.reporting.run_result import RunResult


def to_csv(results: Sequence[RunResult]) -> str:
    """
    Return one row per run; what a run lacks is empty.

    Columns ``samples_*`` count clips that were tested, ``trained_*`` those trained on, repetitions
    included. Those of captions, of several classes, of videos and of rounds are there where a run
    has any.
    """
    further = [disjoint_columns(run) for run in results]
    names = list(dict.fromkeys(name for columns in further for name in columns))
    has_regimes = any(run.regime for run in results)
    rows = [
        _row(run, _tasks(results), {name: columns.get(name) for name in names}, has_regimes)
        for run, columns in zip(results, further)
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _tasks(results: Sequence[RunResult]) -> list[str]:
    return list(dict.fromkeys(t for run in results for t in run.figures.get('accuracy', {})))


def _row(
    run: RunResult, tasks: Sequence[str], further: Mapping[str, object], has_regimes: bool
) -> dict[str, object]:
    summary, figures = run.summary, run.figures
    per_task = {'accuracy': figures.get('accuracy', {}), 'samples': figures.get('samples', {})}
    per_task['trained'] = summary.get('samples', {})
    parameters = summary.get('parameters', {})
    facts = ('skipped_steps', 'step_ms', 'iteration', 'best_iteration', 'wall_sec', 'cpu_sec')
    regime = ['regime'] if has_regimes else []
    names = ('data', 'sharing', 'weighting', *regime, 'seed', 'status', 'split')
    return {
        **{name: getattr(run, name) for name in names},
        **{f'{k}_{task}': found.get(task) for k, found in per_task.items() for task in tasks},
        **{k: figures.get(k) for k in ('cumulative_accuracy', 'mean_accuracy')},
        **{f'parameters_{kind}': parameters.get(kind) for kind in ('training', 'deployed')},
        **{name: summary.get(name) for name in facts},
        **further,
        'folder': run.folder,
        'reason': run.reason,
    }
