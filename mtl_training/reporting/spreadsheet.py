"""All figures of all runs as CSV, for other tools."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import io

from mtl_training.reporting.run_result import RunResult


def to_csv(results: Sequence[RunResult]) -> str:
    """
    Return one row per run; what a run lacks is empty.

    Columns ``samples_*`` count clips that were tested, ``trained_*`` those trained on, repetitions
    included.
    """
    rows = [_row(run, _tasks(results)) for run in results]
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _tasks(results: Sequence[RunResult]) -> list[str]:
    return list(dict.fromkeys(t for run in results for t in run.figures.get('accuracy', {})))


def _row(run: RunResult, tasks: Sequence[str]) -> dict[str, object]:
    summary, figures = run.summary, run.figures
    per_task = {'accuracy': figures.get('accuracy', {}), 'samples': figures.get('samples', {})}
    per_task['trained'] = summary.get('samples', {})
    parameters = summary.get('parameters', {})
    facts = ('skipped_steps', 'step_ms', 'iteration', 'best_iteration', 'wall_sec', 'cpu_sec')
    names = ('data', 'sharing', 'weighting', 'seed', 'status', 'split')
    return {
        **{name: getattr(run, name) for name in names},
        **{f'{k}_{task}': found.get(task) for k, found in per_task.items() for task in tasks},
        **{k: figures.get(k) for k in ('cumulative_accuracy', 'mean_accuracy')},
        **{f'parameters_{kind}': parameters.get(kind) for kind in ('training', 'deployed')},
        **{name: summary.get(name) for name in facts},
        'folder': run.folder,
        'reason': run.reason,
    }
