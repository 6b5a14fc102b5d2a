"""The pictures of a comparison, small enough to be kept beside its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from typing import Any

from mtl_training.reporting.drawing import legend_beside, look, panels, save, shared_legend
from mtl_training.reporting.run_result import RunResult, spread
from mtl_training.reporting.scores import mean_score
from mtl_training.reporting.tables import KINDS, Method, overall_name
import numpy as np

MAX_ANNOTATED_LABELS = 20
MAX_LINES = 6  # of methods in one panel
PANELS = ('sharing', 'regime', 'weighting')  # what panels are of, the first that differs
Curve = dict[int, float]


def draw_learning_curves(methods: Sequence[Method], path: Path) -> bool:
    """
    Draw what validation says over all tasks, mean over seeds; see :func:`_layout` for its panels.

    The bands are one standard deviation wide to each side.

    :return: Whether there was anything to draw.
    """
    curves = {m.name: [c for r in m.runs if (c := _validation_curve(r))] for m in methods}
    shown = [m for m in methods if curves[m.name]]
    if not shown:
        return False
    places = _layout(shown)
    titles, names = (list(dict.fromkeys(part)) for part in zip(*places))
    figure, axes = panels(len(titles), sharey=True)
    for axis, title in zip(axes, titles):
        for method, (panel, name) in zip(shown, places):
            iterations, means, deviations = _over_seeds(curves[method.name])
            if panel == title:
                style = look(names, name)
                # A line of one validation is no line.
                marker = 'o' if len(iterations) == 1 else ''
                axis.plot(iterations, 100 * means, **style, marker=marker, label=name)
                low, high = 100 * (means - deviations), 100 * (means + deviations)
                axis.fill_between(iterations, low, high, color=style['color'], alpha=0.1, lw=0)
            elif names == ['']:
                axis.plot(iterations, 100 * means, color='0.85', linewidth=0.8, zorder=0)
        axis.set(title=title, xlabel='iteration')
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(f'{overall_name(methods)} on validation, %', fontsize=8)
    if len(names) > 1:
        shared_legend(figure, axes[: len(titles)])
    save(figure, path)
    return True


def draw_weights(methods: Sequence[Method], path: Path) -> bool:
    """
    Draw the weights of the tasks over the iterations, one panel per weighting.

    Thin lines are sharing methods (mean over seeds), thick ones the mean over all runs.

    :return: Whether a weighting changed its weights.
    """
    curves: dict[str, dict[str, list[list[Curve]]]] = {}
    for method in methods:
        by_task: dict[str, list[Curve]] = {}
        for run in method.runs:
            for task, curve in _weight_curves(run).items():
                by_task.setdefault(task, []).append(curve)
        for task, found in by_task.items():
            curves.setdefault(method.weighting, {}).setdefault(task, []).append(found)
    moving = {name: tasks for name, tasks in curves.items() if _is_moving(tasks)}
    if not moving:
        return False
    names = list(dict.fromkeys(task for tasks in moving.values() for task in tasks))
    figure, axes = panels(len(moving))
    for axis, (weighting, tasks) in zip(axes, moving.items()):
        for task, groups in tasks.items():
            style = look(names, task)
            for group in groups:
                iterations, means, _ = _over_seeds(group)
                axis.plot(iterations, means, **{**style, 'linewidth': 0.6}, alpha=0.5)
            iterations, means, _ = _over_seeds([curve for group in groups for curve in group])
            axis.plot(iterations, means, **{**style, 'linewidth': 2.2}, label=task)
        axis.set(title=weighting, xlabel='iteration', ylabel='weight')
    shared_legend(figure, axes[: len(moving)])
    save(figure, path)
    return True


def draw_margins(methods: Sequence[Method], path: Path) -> bool:
    """
    Draw what every run reached over all tasks, by each of the kinds of names that differ.

    :return: Whether there was anything to draw, and to compare.
    """
    runs = [(m, value) for m in methods for r in m.runs if (value := r.overall) is not None]
    if not runs:
        return False
    kinds = [kind for kind in KINDS if len({getattr(m, kind) for m in methods}) > 1]
    counts = {kind: len({getattr(m, kind) for m in methods}) for kind in kinds}
    if not kinds:
        return False
    # Wide enough for all names, one below the other where there are many.
    width = 2.0 + 0.42 * max(counts.values())
    figure, axes = panels(len(kinds), width=min(11.0, max(5.0, width)), height=3.6, columns=1)
    for axis, kind in zip(axes, kinds):
        # Colours are of what differs most besides.
        other = max((k for k in kinds if k != kind), key=counts.__getitem__, default='')
        names = list(dict.fromkeys(getattr(m, kind) for m in methods))
        others = list(dict.fromkeys(getattr(m, other) for m in methods)) if other else ['']
        for place, name in enumerate(names):
            mine = [(m, v) for m, v in runs if getattr(m, kind) == name]
            for method, value in mine:
                # Side by side, or equal ones would hide each other.
                one = getattr(method, other) if other else ''
                shift = 0.6 * ((others.index(one) + 0.5) / len(others) - 0.5)
                colour = look(others, one)['color']
                axis.plot(place + shift, 100 * value, 'o', color=colour, markersize=3, label=one)
            mean = 100 * float(np.mean([value for _, value in mine])) if mine else np.nan
            axis.hlines(mean, place - 0.4, place + 0.4, color='black', linewidth=1.2)
        axis.set_xticks(range(len(names)), names, rotation=30, ha='right', fontsize=8)
        axis.set_ylabel(f'{overall_name(methods)}, %', fontsize=8)
        axis.set_title(f'by {kind}', fontsize=9)
        if other:
            legend_beside(axis)
    save(figure, path)
    return True


def draw_structure(methods: Sequence[Method], path: Path) -> bool:
    """
    Draw what each task takes in each layer, after the last validation of a method's first seed.

    One panel per weighting. Seeds are not averaged: which copy a task takes has no meaning
    beyond its run, only whether two tasks take the same.

    :param methods: Of one sharing method.
    :return: Whether there was anything to draw.
    """
    maps = [(m.name_but('sharing'), rows) for m in methods if (rows := _structure(m.runs[0]))]
    if not maps:
        return False
    num_rows = max(len(rows) for _, rows in maps)
    figure, axes = panels(len(maps), height=0.8 + 0.24 * num_rows)
    for axis, (weighting, rows) in zip(axes, maps):
        width = max(len(shares) for _, shares in rows)
        values = np.full((len(rows), width), np.nan)
        for i, (_, shares) in enumerate(rows):
            values[i, : len(shares)] = shares
        axis.imshow(values, vmin=0, vmax=1, cmap='Blues', aspect='auto')
        for (i, j), value in np.ndenumerate(values):
            if not math.isnan(value):
                colour = 'white' if value > 0.6 else 'black'
                axis.text(j, i, f'{value:.2f}', ha='center', va='center', color=colour, size=7)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
        axis.set_xticks(range(width))
        axis.set(title=weighting, xlabel='copy')
    save(figure, path)
    return True


def draw_confusions(method: Method, path: Path) -> bool:
    """
    Draw the confusion matrices of all tasks, summed over seeds.

    :return: Whether the runs have any.
    """
    matrices: dict[str, tuple[list[str], Any]] = {}
    for run in method.runs:
        for task, matrix in run.figures.get('confusion', {}).items():
            counts = np.asarray(matrix['counts'])
            before = matrices[task][1] if task in matrices else 0
            matrices[task] = (matrix['labels'], before + counts)
    if not matrices:
        return False
    figure, axes = panels(len(matrices), width=5.0, height=4.6)
    for axis, (task, (labels, counts)) in zip(axes, matrices.items()):
        shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axis.imshow(shares, vmin=0, vmax=1, cmap='Blues')
        axis.set(title=task, xlabel='predicted', ylabel='true')
        if len(labels) <= MAX_ANNOTATED_LABELS:
            axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
            axis.set_yticks(range(len(labels)), labels, fontsize=8)
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = 'white' if shares[row, column] > 0.5 else 'black'
                    place = {'ha': 'center', 'va': 'center'}
                    axis.text(column, row, count, color=colour, size=7, **place)
    save(figure, path)
    return True


def _layout(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """
    Return the panel and the line of each method.

    A panel is a sharing method; with one of these a regime, and with one of both a weighting.
    Where nothing else differs, a few methods share a panel; of many each has its own.
    """
    kinds = [k for k in PANELS if len({getattr(m, k) for m in methods}) > 1]
    if not kinds:
        return [(m.name, '') for m in methods]
    panel, *lines = kinds
    if not lines and len(methods) <= MAX_LINES:
        return [('', getattr(m, panel)) for m in methods]
    names = [' / '.join(getattr(m, k) for k in lines if getattr(m, k)) for m in methods]
    return [(getattr(m, panel), name) for m, name in zip(methods, names)]


def _validation_curve(run: RunResult) -> Curve:
    records = [record for record in run.records if record['kind'] == 'val']
    if not run.counts_answers:
        means = {record['iteration']: mean_score(record) for record in records}
        return {iteration: mean for iteration, mean in means.items() if mean is not None}
    # Of tasks without labels it is 0, and says nothing.
    return {r['iteration']: r['cumulative_accuracy'] for r in records if r.get('accuracy', True)}


def _weight_curves(run: RunResult) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for record in run.records:
        if record['kind'] == 'train':
            for task, weight in record.get('weights', {}).items():
                curves.setdefault(task, {})[record['iteration']] = weight
    return curves


def _is_moving(tasks: Mapping[str, Sequence[Sequence[Curve]]]) -> bool:
    values = {v for groups in tasks.values() for g in groups for c in g for v in c.values()}
    return max(values) - min(values) > 1e-6


def _structure(run: RunResult) -> list[tuple[str, list[float]]]:
    """Return the rows (layer and task, shares) of the last validation."""
    found = [r['structure'] for r in run.records if r['kind'] == 'val' and r.get('structure')]
    if not found:
        return []
    several = len(found[-1]) > 1
    return [
        (f'{trunk} {layer} {task}' if several else f'{layer} {task}', shares)
        for trunk, layers in found[-1].items()
        for layer, tasks in layers.items()
        for task, shares in tasks.items()
    ]


def _over_seeds(curves: Sequence[Curve]) -> tuple[list[int], Any, Any]:
    """Return iterations, means and deviations; zero deviation where there is one curve."""
    iterations = sorted({iteration for curve in curves for iteration in curve})
    points = [spread([c[i] for c in curves if i in c]) for i in iterations]
    means = np.array([point.mean for point in points if point])
    deviations = np.array([point.deviation or 0.0 for point in points if point])
    return iterations, means, deviations
