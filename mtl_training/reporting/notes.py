"""What the figures of a comparison can and cannot tell, in words."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.reporting.document import Bullets
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.tables import best_of, comparable, KINDS, Method, overall_name

MAX_NAMED = 8  # names in a sentence; more are counted


def notes(methods: Sequence[Method]) -> Bullets:
    """Return what the figures can and cannot tell; there must be a method."""
    runs = [run for method in methods for run in method.runs]
    return Bullets(
        [
            *_about_seeds(methods),
            *_about_tasks(methods),
            *_about_best(methods),
            *_about_training(runs),
            *_about_times(runs),
            *_about_weights(methods, runs),
            *_about_norms(runs),
        ]
    )


def _about_seeds(methods: Sequence[Method]) -> list[str]:
    counts = sorted({len(method.runs) for method in methods})
    items = [f'Seeds per method: {counts[0]}' + (f' to {counts[-1]}.' if counts[1:] else '.')]
    if counts[0] == 1:
        items.append(
            'With one seed nothing is known about the spread between seeds: differences between '
            'methods with n = 1 are not shown to be more than chance.'
        )
    combinations = math.prod(len({getattr(m, kind) for m in methods}) for kind in KINDS)
    if len(methods) < combinations or counts[1:]:
        items.append(
            'Not every combination has all seeds, so the averages per sharing method and per '
            'weighting are over different runs; their differences are over pairs that exist.'
        )
    return items


def _about_tasks(methods: Sequence[Method]) -> list[str]:
    whole = comparable(methods)
    others = [method.name for method in methods if method not in whole]
    if not whole or not others:
        return []
    return [
        f'Judged on fewer tasks than the others: {_named(others)}. What is over all tasks can not '
        'be compared to theirs, and is never the best.'
    ]


def _about_best(methods: Sequence[Method]) -> list[str]:
    best = best_of(methods)
    if best is None or best.overall is None:
        return []
    mean, items = best.overall.mean, []
    counted = sum(best.runs[0].figures.get('samples', {}).values())
    name = 'cumulative accuracy' if best.runs[0].counts_answers else overall_name([best])
    if best.runs[0].counts_answers and (num_samples := counted):
        error = math.sqrt(mean * (1 - mean) / num_samples)
        items.append(
            f'{num_samples} clips were tested per run: their choice alone makes the cumulative '
            f'accuracy of {100 * mean:.2f} % uncertain by {100 * error:.2f} points (one standard '
            'error).'
        )
    rivals = [method for method in comparable(methods) if method is not best]
    equal = [method.name for method in rivals if _is_within_deviation(method, best)]
    items.append(
        f'Best {name}: {best.name}. '
        + (
            f'Within one standard deviation of it, so not told apart: {_named(equal)}.'
            if equal
            else 'No other method with two seeds or more is within one standard deviation of it.'
        )
    )
    if rivals:
        items.append(
            f'It is the best of {len(rivals) + 1} methods by the same figures that are shown, '
            f'those of the {best.runs[0].split} split: its lead is optimistic, and likely smaller '
            'with other clips and seeds.'
        )
    return items


def _about_training(runs: Sequence[RunResult]) -> list[str]:
    items = []
    if counts := sorted({sum(run.summary['samples'].values()) for run in runs if _trained(run)}):
        if counts[1:]:
            items.append(
                f'The runs were trained on {counts[0]} to {counts[-1]} clips, repetitions '
                'counted: not the same for all methods.'
            )
        else:
            items.append(f'Every run was trained on {counts[0]} clips, repetitions counted.')
    skipped = [
        f'{run.method_name} / seed {run.seed}: {count} of {run.summary["iteration"]}'
        for run in runs
        if (count := run.summary.get('skipped_steps'))
    ]
    if skipped:
        items.append(
            'Skipped training steps, because a loss or gradient was not finite: '
            f'{_named(skipped)}.'
        )
    return items


def _trained(run: RunResult) -> bool:
    return bool(run.summary.get('samples'))


def _about_times(runs: Sequence[RunResult]) -> list[str]:
    if not any(run.summary.get('step_ms') for run in runs):
        return []
    known = {run.at_a_time for run in runs if run.command}
    if known == {1}:
        return ['Step times: each run had the machine to itself.']
    if known and 0 not in known:
        others = ' or '.join(str(number - 1) for number in sorted(known))
        return [
            f'Step times are from runs that shared the machine with {others} others: they '
            'compare methods roughly, and are longer than those of a run alone.'
        ]
    return [
        'Step times may be from runs that shared the machine with others: they compare methods '
        'roughly.'
    ]


def _about_weights(methods: Sequence[Method], runs: Sequence[RunResult]) -> list[str]:
    items = []
    weightings = dict.fromkeys(method.weighting for method in methods)
    if len(weightings) > 1 and any(run.sharing_methods == {'single_task'} for run in runs):
        items.append(
            'Networks that share nothing (single_task) have nothing that a weighting of tasks '
            'could balance: it only scales the gradients of each network, and Adam undoes most of '
            'that. What differs between such runs shows how much is chance.'
        )
    if {run.weighting_method for run in runs} - {'average', ''}:
        published = dict.fromkeys(
            run.weighting
            for run in runs
            if run.config and run.config.weighting.settings.get('normalise') is False
        )
        items.append(
            'Weights of tasks are scaled to sum to the number of tasks, as those of the plain sum '
            "do, unless the method's settings say normalise: false"
            + (f', as for {_named(list(published))}.' if published else ', which none does here.')
        )
    if any(run.weighting_method == 'instance_level' for run in runs):
        items.append('The weights shown of instance_level are means of the weights of its clips.')
    return items


def _about_norms(runs: Sequence[RunResult]) -> list[str]:
    live = any(
        trunk.sharing == 'learned_weight_sharing' and trunk.norm == 'batch'
        for run in runs
        if run.config and not run.config.freeze_batch_norm
        for trunk in run.config.network.trunks.values()
    )
    if not live:
        return []
    return [
        'Batch norms that train see one path at a time under learned weight sharing: the clips of '
        'one task through one choice of copies. Their statistics average over all choices tried, '
        'also those that the learnt structure does not take.'
    ]


def _is_within_deviation(method: Method, best: Method) -> bool:
    one, other = method.overall, best.overall
    if one is None or other is None:
        return False
    deviations = [s.deviation for s in (one, other) if s.deviation is not None]
    return other.mean - one.mean <= max(deviations, default=0.0)


def _named(names: Sequence[str]) -> str:
    more = f'; and {len(names) - MAX_NAMED} more' if len(names) > MAX_NAMED else ''
    return '; '.join(names[:MAX_NAMED]) + more
