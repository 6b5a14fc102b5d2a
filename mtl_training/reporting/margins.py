"""The margins of a comparison: each method over all others that it was combined with."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.reporting.document import Table
from mtl_training.reporting.run_result import RunResult, Spread, spread
from mtl_training.reporting.tables import (
    best_cells,
    comparable,
    KINDS,
    Method,
    NONE,
    score_titles,
    shown_spread,
    tasks_of,
)

REFERENCES = {'sharing': 'hard', 'weighting': 'average'}


def margin_table(methods: Sequence[Method], kind: str) -> Table:
    """
    Return accuracies or scores, in %, over all runs with a sharing method, weighting or regime.

    The difference to the reference is over pairs of runs that have all else in common, the seed
    too: what such runs share, an easy seed for example, is not in it.

    :param kind: ``sharing``, ``weighting`` or ``regime``.
    """
    tasks, names = tasks_of(methods), dict.fromkeys(getattr(m, kind) for m in methods)
    margins = [_margin(methods, kind, name) for name in names]
    reference = next((margin for margin in margins if _is_reference(margin, kind)), None)
    whole = comparable(methods)
    header = [kind, *score_titles(methods), 'n', 'ms/step']
    header += [f'to {reference.sharing}, points', 'pairs', 'time'] if reference else []
    rows, values = [], []
    for margin in margins:
        # Of runs with fewer tasks only where there are no others: it would mix what differs.
        full = _margin(whole, kind, margin.sharing)
        scores = [*map(margin.score, tasks), (full if full.runs else margin).overall]
        row = [margin.sharing, *map(shown_spread, scores), str(len(margin.runs))]
        row.append(NONE if margin.step_ms is None else f'{margin.step_ms:.1f}')
        rows.append(row + (_compared(margin, reference, kind) if reference else []))
        means = [score.mean if score else None for score in scores]
        means[-1] = means[-1] if full.runs else None
        values.append([None, *means])
    return Table(header, rows, best_cells(values))


def _margin(methods: Sequence[Method], kind: str, name: str) -> Method:
    found = [method.runs for method in methods if getattr(method, kind) == name]
    return Method(name, '', [run for runs in found for run in runs])


def _is_reference(margin: Method, kind: str) -> bool:
    if kind not in REFERENCES:
        return False
    run = margin.runs[0]
    used = run.sharing_methods if kind == 'sharing' else {run.weighting_method}
    return used == {REFERENCES[kind]}


def _compared(margin: Method, reference: Method, kind: str) -> list[str]:
    if margin is reference:
        return [NONE, NONE, '1.00×' if margin.step_ms else NONE]
    difference = _difference(margin, reference, kind)
    ours, theirs = margin.step_ms, reference.step_ms
    time = f'{ours / theirs:.2f}×' if ours and theirs else NONE
    return [_shown(difference), str(difference.count if difference else 0), time]


def _difference(margin: Method, reference: Method, kind: str) -> Spread | None:
    def by_partner(runs: Sequence[RunResult]) -> dict[tuple[str | int, ...], float]:
        partners = [partner for partner in KINDS if partner != kind]
        pairs = (
            ((*(getattr(run, partner) for partner in partners), run.seed), run.overall)
            for run in runs
        )
        return {names: value for names, value in pairs if value is not None}

    ours, theirs = by_partner(margin.runs), by_partner(reference.runs)
    return spread([value - theirs[key] for key, value in ours.items() if key in theirs])


def _shown(difference: Spread | None) -> str:
    """Return a mean difference with its standard error, in points."""
    if difference is None:
        return NONE
    mean = f'{100 * difference.mean:+.2f}'
    if difference.deviation is None:
        return mean
    return f'{mean} ± {100 * difference.deviation / math.sqrt(difference.count):.2f}'
