"""The tables of a comparison: rows are methods, figures are over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math

from mtl_training.reporting.document import Bullets, Table
from mtl_training.reporting.results import RunResult, Spread, spread

NONE = '–'


@dataclass(frozen=True, slots=True)
class Method:
    """The finished runs of one sharing method and weighting on one data set: one per seed."""

    sharing: str
    weighting: str
    runs: list[RunResult]

    @property
    def name(self) -> str:
        """Return its name for people."""
        return f'{self.sharing} / {self.weighting}'

    @property
    def accuracy(self) -> Spread | None:
        """Return the cumulative accuracy."""
        return self.spread(lambda run: run.figures.get('cumulative_accuracy'))

    @property
    def step_ms(self) -> float | None:
        """Return the time of a training step."""
        found = self.spread(lambda run: run.summary.get('step_ms'))
        return found.mean if found else None

    def task_accuracy(self, task: str) -> Spread | None:
        """Return the accuracy of one task."""
        return self.spread(lambda run: run.figures.get('accuracy', {}).get(task))

    def num_parameters(self, kind: str) -> float | None:
        """Return how many parameters there are, in training or deployed."""
        found = self.spread(lambda run: run.summary.get('parameters', {}).get(kind))
        return found.mean if found else None

    def spread(self, figure: Callable[[RunResult], float | None]) -> Spread | None:
        """Return mean and deviation of a figure over the runs that have it."""
        values = [value for run in self.runs if (value := figure(run)) is not None]
        return spread(values)


def methods_of(results: Sequence[RunResult]) -> list[Method]:
    """Return the methods with a finished run, in the order of the results."""
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        if result.status == 'finished':
            groups.setdefault((result.sharing, result.weighting), []).append(result)
    return [Method(*names, runs) for names, runs in groups.items()]


def tasks_of(methods: Sequence[Method]) -> list[str]:
    """Return the tasks that the methods were evaluated on."""
    runs = [run for method in methods for run in method.runs]
    return list(dict.fromkeys(task for run in runs for task in run.figures.get('accuracy', {})))


def best_of(methods: Sequence[Method]) -> Method | None:
    """Return the method of the highest mean cumulative accuracy."""
    rated = [method for method in methods if method.accuracy]
    return max(rated, key=lambda method: _mean(method.accuracy), default=None)


def method_table(methods: Sequence[Method]) -> Table:
    """Return accuracies (mean and standard deviation over seeds, in %) and costs per method."""
    tasks = tasks_of(methods)
    reference = next((m.step_ms for m in methods if m.runs[0].is_reference and m.step_ms), None)
    header = ['sharing', 'weighting', *(f'{task} %' for task in tasks), 'cumulative %', 'n']
    header += ['parameters', 'deployed', 'ms/step', 'relative']
    rows: list[list[str]] = []
    values: list[list[float | None]] = []
    for method in methods:
        accuracies = [*map(method.task_accuracy, tasks), method.accuracy]
        counts = [method.num_parameters(kind) for kind in ('training', 'deployed')]
        step = method.step_ms
        relative = step / reference if step and reference else None
        rows.append(
            [
                *(method.sharing, method.weighting),
                *map(shown_spread, accuracies),
                str(len(method.runs)),
                *(NONE if count is None else f'{count / 1e6:.3f} M' for count in counts),
                NONE if step is None else f'{step:.1f}',
                NONE if relative is None else f'{relative:.2f}×',
            ]
        )
        # All such that more is better; None is never the best.
        fewer = [None if v is None else -v for v in (*counts, step, relative)]
        values.append([None, None, *(a.mean if a else None for a in accuracies), None, *fewer])
    return Table(header, rows, _best_cells(values), num_names=2)


def overview_table(methods: Sequence[Method]) -> Table:
    """Return the cumulative accuracies, in %, as a map of sharing x weighting."""
    sharings = list(dict.fromkeys(method.sharing for method in methods))
    weightings = list(dict.fromkeys(method.weighting for method in methods))
    known = {(m.sharing, m.weighting): _mean(m.accuracy) for m in methods if m.accuracy}
    low, high = min(known.values(), default=0.0), max(known.values(), default=1.0)
    rows, bold, shades = [], set(), {}
    for i, sharing in enumerate(sharings):
        cells = [sharing]
        for j, weighting in enumerate(weightings, 1):
            value = known.get((sharing, weighting))
            cells.append(NONE if value is None else f'{100 * value:.2f}')
            if value is not None:
                shades[i, j] = (value - low) / (high - low) if high > low else 1.0
                if value == high:
                    bold.add((i, j))
        rows.append(cells)
    return Table(['cumulative %', *weightings], rows, frozenset(bold), shades)


def notes(methods: Sequence[Method]) -> Bullets:
    """Return what the figures can and cannot tell."""
    counts = sorted({len(method.runs) for method in methods})
    items = [f'Seeds per method: {counts[0]}' + (f' to {counts[-1]}.' if counts[1:] else '.')]
    best = best_of(methods)
    if best is None or best.accuracy is None:
        return Bullets(items)
    if counts[0] == 1:
        items.append(
            'With one seed nothing is known about the spread between seeds: differences between '
            'methods with n = 1 are not shown to be more than chance.'
        )
    mean = best.accuracy.mean
    if num_samples := sum(best.runs[0].figures.get('samples', {}).values()):
        error = math.sqrt(mean * (1 - mean) / num_samples)
        items.append(
            f'{num_samples} clips were tested per run: their choice alone makes the cumulative '
            f'accuracy of {100 * mean:.2f} % uncertain by {100 * error:.2f} points (one standard '
            'error).'
        )
    equal = [m.name for m in methods if m is not best and _is_within_deviation(m, best)]
    items.append(
        f'Best cumulative accuracy: {best.name}. '
        + (
            f'Within one standard deviation of it, so not told apart: {"; ".join(equal)}.'
            if equal
            else 'No other method with two seeds or more is within one standard deviation of it.'
        )
    )
    return Bullets(items)


def _is_within_deviation(method: Method, best: Method) -> bool:
    one, other = method.accuracy, best.accuracy
    if one is None or other is None:
        return False
    deviations = [s.deviation for s in (one, other) if s.deviation is not None]
    return other.mean - one.mean <= max(deviations, default=0.0)


def shown_spread(value: Spread | None) -> str:
    """Return an accuracy in %, with its standard deviation if that is known."""
    if value is None:
        return NONE
    if value.deviation is None:
        return f'{100 * value.mean:.2f}'
    return f'{100 * value.mean:.2f} ± {100 * value.deviation:.2f}'


def _best_cells(values: Sequence[Sequence[float | None]]) -> frozenset[tuple[int, int]]:
    bold = set()
    for column, entries in enumerate(zip(*values)):
        known = [entry for entry in entries if entry is not None]
        # Where all are equal, none stands out.
        if known and min(known) < max(known):
            bold |= {(row, column) for row, e in enumerate(entries) if e == max(known)}
    return frozenset(bold)


def _mean(value: Spread | None) -> float:
    assert value is not None
    return value.mean
