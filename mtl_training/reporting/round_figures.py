"""Pictures of training in rounds: what is forgotten between them, and a grid of lambdas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from typing import Any

from matplotlib.patches import Rectangle
from mtl_training.forgetting import RoundCurve
from mtl_training.reporting.drawing import look, panels, save, shared_legend
import numpy as np

Curves = Mapping[str, RoundCurve]  # of one run, by task
METRIC_NAMES = {'r1': 'R@1', 'r5': 'R@5', 'r10': 'R@10', 'map': 'mAP'}


def draw_forgetting(curves: Mapping[str, Sequence[Curves]], path: Path) -> None:
    """
    Draw the metric of each task over the rounds, one panel per method.

    A thin line is a run, the thick one the mean over the runs of the method. The ground behind a
    round has the colour of the task that it trains, or stripes of several; runs of one method are
    taken to train in the same order.

    :param curves: For each method, the curves of its runs, such as those of several seeds.
    :raises ValueError: If there is no method, or a method without a curve.
    """
    for method, runs in curves.items():
        if not runs or not all(runs):
            raise ValueError(f"curves must have runs with tasks, got none for '{method}'.")
    if not curves:
        raise ValueError('curves must have a method, got none.')
    tasks = list(dict.fromkeys(t for runs in curves.values() for run in runs for t in run))
    figure, axes = panels(len(curves), width=4.2, height=3.2, sharey=True)
    for axis, (method, runs) in zip(axes, curves.items()):
        _shade(axis, runs[0], tasks)
        for task in tasks:
            _draw_task(axis, [run[task] for run in runs if task in run], look(tasks, task))
        axis.set(title=method, xlabel='rounds done')
        axis.margins(x=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel('after the round, %', fontsize=8)
    shared_legend(figure, axes[: len(curves)])
    save(figure, path)


def draw_lambda_grid(
    grid: Mapping[tuple[float, float], float], path: Path, metric: str = ''
) -> None:
    """
    Draw a metric over the two lambdas of learning from disjoint data.

    :param grid: From (lambda_A, lambda_S) to the metric in [0, 1], the higher the better.
    :param metric: Its name, for the title.
    :raises ValueError: If there is no number in the grid.
    """
    shown = {pair: 100 * value for pair, value in grid.items()}
    draw_grid(shown, path, title=metric, axes=(r'$\lambda_A$', r'$\lambda_S$'), unit='%')


def draw_grid(
    grid: Mapping[tuple[float, float], float],
    path: Path,
    *,
    title: str,
    axes: tuple[str, str],
    unit: str = '',
    digits: int = 1,
    sign: int = 1,
) -> None:
    """
    Draw a figure over a grid of two settings; the first of its best cells is framed.

    Where all are equal as they are shown, none is.

    :param grid: From both settings to the figure; a combination that is missing or not a number
        stays grey.
    :param axes: The names of the settings: that of the rows first.
    :param sign: -1 where less is better.
    :raises ValueError: If there is no number in the grid.
    """
    rows, columns = (sorted({key[i] for key in grid}) for i in range(2))
    values = np.full((len(rows), len(columns)), math.nan)
    for (first, second), value in grid.items():
        values[rows.index(first), columns.index(second)] = value
    if np.isnan(values).all():
        raise ValueError(f'grid must have a number, got none in {len(grid)} cells.')
    figure, (axis,) = panels(1, width=3.4 + 0.85 * len(columns), height=1.8 + 0.6 * len(rows))
    low, high = np.nanmin(values), np.nanmax(values)
    axis.set_facecolor('0.8')  # of what is missing
    colours = 'Blues' if sign > 0 else 'Blues_r'
    image = axis.imshow(values, cmap=colours, aspect='auto', origin='lower')
    for (row, column), value in np.ndenumerate(values):
        if not math.isnan(value):
            is_dark = sign * (value - (low if sign > 0 else high)) > 0.6 * (high - low)
            colour = 'white' if is_dark else 'black'
            text = f'{value:.{digits}f}'
            axis.text(column, row, text, ha='center', va='center', color=colour, size=10)
    if (best := _best_cell(sign * values, digits)) is not None:
        corner = (best[1] - 0.47, best[0] - 0.46)
        frame = Rectangle(corner, 0.94, 0.92, fill=False, edgecolor='C1', linewidth=2.5)
        axis.add_patch(frame)
    axis.set_xticks(range(len(columns)), [f'{value:g}' for value in columns])
    axis.set_yticks(range(len(rows)), [f'{value:g}' for value in rows])
    axis.set(title=title, xlabel=axes[1], ylabel=axes[0])
    figure.colorbar(image, ax=axis, format='%g').ax.set_title(unit, fontsize=8)
    save(figure, path)


def _best_cell(values: Any, digits: int) -> tuple[int, int] | None:
    """Return the first of the largest values; None where all look equal, or there is one."""
    shown = np.round(values, digits)
    if np.nanmin(shown) == np.nanmax(shown):
        return None
    row, column = np.unravel_index(np.nanargmax(shown), shown.shape)
    return int(row), int(column)


def _shade(axis: Any, run: Curves, tasks: Sequence[str]) -> None:
    trained_in: dict[int, list[str]] = {}
    for task, curve in run.items():
        for round_, trained in zip(curve.rounds, curve.trained):
            if trained:
                trained_in.setdefault(round_, []).append(task)
    for round_, names in trained_in.items():
        for i, name in enumerate(names):
            span = {'ymin': i / len(names), 'ymax': (i + 1) / len(names)}
            colour = look(tasks, name)['color']
            axis.axvspan(round_, round_ + 1, **span, color=colour, alpha=0.13, linewidth=0)


def _draw_task(axis: Any, curves: Sequence[RoundCurve], style: Mapping[str, Any]) -> None:
    """Draw the runs and their mean; round -1, the state before training, stands at 0."""
    if not curves:
        return
    by_round: dict[int, list[float]] = {}
    for curve in curves:
        done = [round_ + 1 for round_ in curve.rounds]
        for number, value in zip(done, curve.values):
            by_round.setdefault(number, []).append(100 * value)
        if len(curves) > 1:
            thin = {**style, 'linewidth': 0.9, 'alpha': 0.6}
            axis.plot(done, [100 * value for value in curve.values], **thin)
    numbers = sorted(by_round)
    means = [float(np.mean(by_round[number])) for number in numbers]
    metric = METRIC_NAMES.get(curves[0].metric, curves[0].metric)
    mean = {**style, 'linewidth': 2.0, 'marker': 'o', 'markersize': 2.5}
    axis.plot(numbers, means, **mean, label=f'{curves[0].task} ({metric})')
