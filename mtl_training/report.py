"""Tables for people and pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from mtl_training.clip_report import print_clips
from mtl_training.fitting_tables import print_table
from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.relevance import SceneEvaluation
import numpy as np
from rich.console import Console
from rich.table import Table


def print_evaluation(console: Console, evaluation: Evaluation, title: str) -> None:
    """Print the figures of the clip tasks, then the confusion matrix of every task."""
    clips = {t: m for t, m in evaluation.confusions.items() if t not in evaluation.people}
    if clips:
        table = Table(title=title)
        for column in ('task', 'accuracy', 'correct', 'clips', 'loss'):
            table.add_column(column, justify='left' if column == 'task' else 'right')
        for task, matrix in clips.items():
            figures = (f'{matrix.accuracy:.1%}', str(matrix.num_correct), str(matrix.num_samples))
            table.add_row(task, *figures, f'{evaluation.losses[task]:.3f}')
        table.add_section()
        correct = sum(m.num_correct for m in clips.values())
        total = sum(m.num_samples for m in clips.values())
        share = f'{correct / max(1, total):.1%}'
        table.add_row('cumulative', share, str(correct), str(total), '')
        print_table(console, table)
    print_clips(console, evaluation, title)
    for task, matrix in evaluation.confusions.items():
        print_table(console, _matrix_table(task, matrix))


def print_scenes(console: Console, scenes: SceneEvaluation, title: str) -> None:
    """Print what relevance and calibration are worth on mixed scenes."""
    clips = ', '.join(f'{count} {source}' for source, count in scenes.samples.items())
    table = Table(title=title + _calibrated_on(scenes), caption=f'clips: {clips}')
    columns = {
        'auroc': 'relevance AUROC',
        'ece_labels': 'ECE, own clips',
        'ece': 'ECE, all clips',
        'right_answers': 'right answers',
        'missed': 'missed',
        'false_alarms': 'false alarms',
    }
    for column in ('task', *columns.values()):
        table.add_column(column, justify='left' if column == 'task' else 'right')
    summary = scenes.summary()
    for task, figures in {**summary['tasks'], 'mean': summary['mean']}.items():
        numbers = [f'{figures[name]:.4f}' for name in ('auroc', 'ece_labels', 'ece')]
        shares = [f'{figures[name]:.1%}' for name in ('right_answers', 'missed', 'false_alarms')]
        if task == 'mean':
            table.add_section()
        table.add_row(task, *numbers, *shares)
    print_table(console, table)


def draw_reliability(scenes: SceneEvaluation, path: Path) -> None:
    """Draw how often answers of each confidence are right, for all tasks into one PNG."""
    figure, axes = plt.subplots(
        1, len(scenes.tasks), figsize=(4.5 * len(scenes.tasks), 4.5), squeeze=False
    )
    for axis, (task, figures) in zip(axes[0], scenes.tasks.items()):
        axis.plot([0, 1], [0, 1], color='grey', linewidth=1, linestyle=':')
        for name, bins in (('own clips', figures.labels), ('all clips', figures.answers)):
            full = bins.counts > 0
            text = f'{name}: ECE {bins.error():.3f}'
            axis.plot(bins.confidence[full], bins.accuracy[full], marker='o', label=text)
        axis.set(xlabel='confidence', ylabel='share of right answers', xlim=(0, 1), ylim=(0, 1.02))
        axis.set_title(f'{task}: relevance AUROC {figures.auroc:.3f}')
        axis.legend(loc='upper left')
    if scenes.calibrated_on:
        figure.suptitle(_calibrated_on(scenes).strip())
    _save(figure, path)


def _calibrated_on(scenes: SceneEvaluation) -> str:
    return ' (on the clips it was calibrated on)' if scenes.calibrated_on else ''


def _matrix_table(task: str, matrix: ConfusionMatrix) -> Table:
    table = Table(title=f'{task}: rows are the truth, columns the predictions')
    table.add_column('label')
    for column in ('recall', 'precision', *(str(i) for i in range(len(matrix.labels)))):
        table.add_column(column, justify='right')
    per_class = matrix.per_class()
    for i, (label, counts) in enumerate(zip(matrix.labels, matrix.counts.tolist())):
        cells = [_cell(count, hit=i == j) for j, count in enumerate(counts)]
        figures, is_said = per_class[label], bool(matrix.counts[:, i].any())
        # A share of nothing is none.
        recall = f'{figures["recall"]:.0%}' if figures['samples'] else '-'
        precision = f'{figures["precision"]:.0%}' if is_said else '-'
        table.add_row(f'{i} {label}', recall, precision, *cells)
    return table


def _cell(count: int, *, hit: bool) -> str:
    if hit:
        return f'[bold green]{count}[/]'
    return f'[red]{count}[/]' if count else '[dim]·[/]'


def draw_confusions(evaluation: Evaluation, path: Path) -> None:
    """Draw the confusion matrices of all tasks into one PNG; nothing where there are none."""
    matrices = evaluation.confusions
    if not matrices:
        return
    width = max(4.0, 0.55 * max(len(m.labels) for m in matrices.values()) + 2)
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(width * len(matrices), width), squeeze=False
    )
    for axis, (task, matrix) in zip(axes[0], matrices.items()):
        counts = matrix.counts.numpy()
        shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axis.imshow(shares, vmin=0, vmax=1, cmap='Blues')
        axis.set_xticks(range(len(matrix.labels)), matrix.labels, rotation=90)
        axis.set_yticks(range(len(matrix.labels)), matrix.labels)
        axis.set_xlabel('predicted')
        axis.set_ylabel('true')
        axis.set_title(f'{task}: {matrix.accuracy:.1%} of {matrix.num_samples}')
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = 'white' if shares[row, column] > 0.5 else 'black'
                axis.text(column, row, count, ha='center', va='center', color=colour, fontsize=7)
    _save(figure, path)


def draw_learning_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """
    Draw losses and accuracies over the iterations, of training and of validation.

    Where regimes take turns, or give shares to what is remembered, the axis says so: their losses
    of training are what is minimised, shares included, so not those of validation.
    """
    figure, (loss_axis, accuracy_axis) = plt.subplots(1, 2, figsize=(11, 4))
    for kind, style in (('train', {'alpha': 0.35}), ('val', {'marker': 'o', 'markersize': 3})):
        chosen = [record for record in records if record['kind'] == kind]
        tasks = sorted({task for record in chosen for task in record['loss']})
        for number, task in enumerate(tasks):
            rows = [record for record in chosen if task in record['loss']]
            iterations = [record['iteration'] for record in rows]
            look = {**style, 'color': f'C{number}', 'label': f'{task} ({kind})'}
            loss_axis.plot(iterations, [row['loss'][task] for row in rows], **look)
            accuracy_axis.plot(iterations, [_figure_of(row, task) for row in rows], **look)
    lowest = min((value for row in records for value in row['loss'].values()), default=1.0)
    # Cosines of captions are negative losses.
    scale = 'log' if lowest > 0 else 'linear'
    has_rounds = any(record.get('round') is not None for record in records)
    label = "loss (of training: with the regime's shares)" if has_rounds else 'loss'
    loss_axis.set(xlabel='iteration', ylabel=label, yscale=scale)
    accuracy_axis.set(xlabel='iteration', ylabel='accuracy or score', ylim=(0, 1.02))
    if records:
        # Beside the curves: there are as many entries as tasks, twice.
        accuracy_axis.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), fontsize=8)
    _save(figure, path)


def _figure_of(row: Mapping[str, Any], task: str) -> float:
    """Return what a record says of a task: its accuracy, or what stands for it."""
    sections = {'people': 'score', 'captions': 'score', 'multilabel': 'map', 'segments': 'score'}
    for section, name in sections.items():
        if task in row.get(section, {}):
            figure = row[section][task][name]
            break
    else:
        figure = row['accuracy'][task]
    return float('nan') if figure is None else figure


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches='tight')
    plt.close(figure)
