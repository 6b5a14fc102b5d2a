"""The tables of a comparison: rows are methods, figures are over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from mtl_training.reporting.document import Table
from mtl_training.reporting.run_result import RunResult, Spread, spread

NONE = '–'
KINDS = ('sharing', 'weighting', 'regime')


@dataclass(frozen=True, slots=True)
class Method:
    """The finished runs of one combination of methods on one data set: one per seed."""

    sharing: str
    weighting: str
    runs: list[RunResult]
    regime: str = ''  # where there are several

    @property
    def name(self) -> str:
        """Return its name for people."""
        return self.name_but('')

    def name_but(self, kind: str) -> str:
        """Return its name without that of its sharing method, weighting or regime."""
        return ' / '.join(getattr(self, k) for k in KINDS if k != kind and getattr(self, k))

    @property
    def overall(self) -> Spread | None:
        """Return what tells how good it is: the cumulative accuracy, or the mean score."""
        return self.spread(lambda run: run.overall)

    @property
    def step_ms(self) -> float | None:
        """Return the time of a training step, median over runs: some were disturbed."""
        found = [ms for run in self.runs if (ms := run.summary.get('step_ms')) is not None]
        return median(found) if found else None

    def score(self, task: str) -> Spread | None:
        """Return the accuracy of one task, or what stands for it."""
        return self.spread(lambda run: run.scores.get(task))

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
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in results:
        if result.status == 'finished':
            names = (result.sharing, result.weighting, result.regime)
            groups.setdefault(names, []).append(result)
    return [
        Method(sharing, weighting, runs, regime)
        for (sharing, weighting, regime), runs in groups.items()
    ]


def kinds_of(methods: Sequence[Method]) -> list[str]:
    """Return what names methods: the regime only where there are some."""
    return [kind for kind in KINDS if any(getattr(method, kind) for method in methods)]


def tasks_of(methods: Sequence[Method]) -> list[str]:
    """Return the tasks that the methods were evaluated on."""
    runs = [run for method in methods for run in method.runs]
    return list(dict.fromkeys(task for run in runs for task in run.scores))


def overall_name(methods: Sequence[Method]) -> str:
    """Return the name of what tells how good methods are."""
    return 'cumulative' if _counts_answers(methods) else 'mean score'


def score_titles(methods: Sequence[Method]) -> list[str]:
    """Return the titles of the columns of the tasks and of what is over all of them."""
    what = '' if _counts_answers(methods) else ' score'
    tasks = [f'{task}{what} %' for task in tasks_of(methods)]
    return [*tasks, f'{overall_name(methods)} %']


def comparable(methods: Sequence[Method]) -> list[Method]:
    """Return the methods with the most tasks: what is over fewer can't be compared to it."""
    counts = [len({task for run in method.runs for task in run.scores}) for method in methods]
    return [m for m, count in zip(methods, counts) if count and count == max(counts)]


def best_of(methods: Sequence[Method]) -> Method | None:
    """Return the best over all tasks, among the methods with the most tasks."""
    rated = [method for method in comparable(methods) if method.overall]
    return max(rated, key=lambda method: _mean(method.overall), default=None)


def method_table(methods: Sequence[Method]) -> Table:
    """Return accuracies (mean and standard deviation over seeds, in %) and costs per method."""
    tasks, kinds, whole = tasks_of(methods), kinds_of(methods), comparable(methods)
    header = [*kinds, *score_titles(methods), 'n', 'parameters', 'deployed', 'ms/step']
    rows: list[list[str]] = []
    values: list[list[float | None]] = []
    for method in methods:
        scores = [*map(method.score, tasks), method.overall]
        counts = [method.num_parameters(kind) for kind in ('training', 'deployed')]
        rows.append(
            [
                *(getattr(method, kind) for kind in kinds),
                *map(shown_spread, scores),
                str(len(method.runs)),
                *(NONE if count is None else f'{count / 1e6:.3f} M' for count in counts),
                NONE if method.step_ms is None else f'{method.step_ms:.1f}',
            ]
        )
        means = [score.mean if score else None for score in scores]
        means[-1] = means[-1] if method in whole else None
        values.append([*(None for _ in kinds), *means])
    return Table(header, rows, best_cells(values), num_names=len(kinds))


def overview_table(methods: Sequence[Method]) -> Table:
    """Return what is over all tasks, in %, as a map of sharing (and regime) x weighting."""
    sharings = list(dict.fromkeys(method.name_but('weighting') for method in methods))
    weightings = list(dict.fromkeys(method.weighting for method in methods))
    known = {
        (m.name_but('weighting'), m.weighting): _mean(m.overall) for m in methods if m.overall
    }
    # One of fewer tasks is shown, but neither shaded nor the best.
    rated = {(m.name_but('weighting'), m.weighting) for m in comparable(methods)} & known.keys()
    values = [known[place] for place in rated]
    low, high = min(values, default=0.0), max(values, default=1.0)
    rows, bold, shades = [], set(), {}
    for i, sharing in enumerate(sharings):
        cells = [sharing]
        for j, weighting in enumerate(weightings, 1):
            value = known.get((sharing, weighting))
            cells.append(NONE if value is None else f'{100 * value:.2f}')
            if value is not None and (sharing, weighting) in rated:
                shades[i, j] = (value - low) / (high - low) if high > low else 1.0
                if value == high:
                    bold.add((i, j))
        rows.append(cells)
    title = f'{overall_name(methods)} %'
    return Table([title, *weightings], rows, frozenset(bold), shades)


def shown_spread(value: Spread | None) -> str:
    """Return an accuracy in %, with its standard deviation if that is known."""
    if value is None:
        return NONE
    if value.deviation is None:
        return f'{100 * value.mean:.2f}'
    return f'{100 * value.mean:.2f} ± {100 * value.deviation:.2f}'


def best_cells(values: Sequence[Sequence[float | None]]) -> frozenset[tuple[int, int]]:
    """Return the places of the largest value of each column; None is never it."""
    bold = set()
    for column, entries in enumerate(zip(*values)):
        known = [entry for entry in entries if entry is not None]
        # Where all are equal, none stands out.
        if known and min(known) < max(known):
            bold |= {(row, column) for row, e in enumerate(entries) if e == max(known)}
    return frozenset(bold)


def _counts_answers(methods: Sequence[Method]) -> bool:
    return all(run.counts_answers for method in methods for run in method.runs)


def _mean(value: Spread | None) -> float:
    assert value is not None
    return value.mean
