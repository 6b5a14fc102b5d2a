"""Figures of classes, sentences and rounds, as tables and spreadsheets of runs have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtl_training.clip_report import RANKS, RECALLS
from mtl_training.forgetting import CaptionFigure, round_curves, RoundCurve
from mtl_training.reporting.columns import at, Column, known
from mtl_training.reporting.round_figures import METRIC_NAMES
from mtl_training.reporting.run_result import RunResult

SECTIONS = ('captions', 'multilabel', 'videos')
SMALL = 'small_pools'
# Of the sentences that are retrieved: the strictest, and the one that moves first.
ROUND_FIGURES: tuple[CaptionFigure, ...] = ('r1', 'r10')
RANKED = {**RECALLS, **RANKS, 'pool': 'pool'}


def has_figures(run: RunResult) -> bool:
    """Tell whether there is more of a run than the accuracies of clips."""
    return run.has_rounds or any(run.figures.get(section) for section in SECTIONS)


def result_columns(runs: Sequence[RunResult]) -> list[Column]:
    """Return Hit@1, Acc and mAP of the tasks of classes, then what tasks of captions retrieve."""
    tasks = dict.fromkeys(t for run in runs for t in run.figures.get('accuracy', {}))
    tasks |= dict.fromkeys(t for run in runs for t in run.figures.get('multilabel', {}))
    columns = [column for task in tasks for column in _class_columns(task)]
    return known([*columns, *retrieval_columns(runs)], runs)


def retrieval_columns(runs: Sequence[RunResult], *, small: bool = False) -> list[Column]:
    """
    Return what tasks of captions retrieve, and out of how many sentences.

    :param small: Of the small random pools.
    """
    tasks = dict.fromkeys(t for run in runs for t in run.figures.get('captions', {}))
    inside, prefix = ((SMALL,), 'small_') if small else ((), '')
    columns = [
        Column(
            f'{prefix}{name}_{task}',
            f'{task} {title}',
            at('captions', task, *inside, name),
            'share' if name in RECALLS else 'rank' if name in RANKS else 'count',
            1 if name in RECALLS else -1 if name in RANKS else 0,
        )
        for task in tasks
        for name, title in RANKED.items()
    ]
    return known(columns, runs)


def round_columns(runs: Sequence[RunResult]) -> list[Column]:
    """Return what each task forgets in a round of others, and its last and best value."""
    columns: dict[str, Column] = {}
    for figure in ROUND_FIGURES:
        found = {task: curve for run in runs for task, curve in curves_of(run, figure).items()}
        for task, curve in found.items():
            metric = METRIC_NAMES.get(curve.metric, curve.metric)
            of_task = f'{curve.metric}_{task}' if curve.metric in ROUND_FIGURES else task
            for name, title in (('forgetting', 'F'), ('final', 'final'), ('best', 'best')):
                columns[f'{name}_{of_task}'] = Column(
                    f'{name}_{of_task}',
                    f'{task} {metric} {title}',
                    _of_curve(figure, task, name),
                    sign=-1 if name == 'forgetting' else 1,
                )
    return known([*columns.values()], runs)


def curves_of(run: RunResult, figure: CaptionFigure = 'r1') -> dict[str, RoundCurve]:
    """
    Return the curves of the tasks of a run over its rounds.

    Where it has none, the validations count as rounds that train all tasks: nothing is forgotten
    between them that could be told from what is unlearnt while it is trained.
    """
    records = [r for r in run.records if r['kind'] == 'val' and 'accuracy' in r]
    if not run.has_rounds:
        records = [
            {
                **record,
                'round': number,
                'trained': [
                    t for name in ('accuracy', *SECTIONS[:2]) for t in record.get(name, {})
                ],
            }
            for number, record in enumerate(records)
        ]
    is_round = any(record.get('round') is not None for record in records)
    return round_curves(records, figure) if is_round else {}


def disjoint_columns(run: RunResult) -> dict[str, float | None]:
    """Return the columns of a spreadsheet for one run; none for one of accuracies alone."""
    if not (run.regime or has_figures(run)):
        return {}
    columns = [
        *result_columns([run]),
        *retrieval_columns([run], small=True),
        *round_columns([run]),
    ]
    return {column.name: column.value(run) for column in columns}


def _class_columns(task: str) -> list[Column]:
    def hits(run: RunResult) -> float | None:
        found = run.figures.get('accuracy', {}).get(task)
        return at('multilabel', task, 'hit_at_1')(run) if found is None else found

    return [
        Column(f'hit_at_1_{task}', f'{task} Hit@1', hits),
        Column(f'video_accuracy_{task}', f'{task} Acc', at('videos', task, 'accuracy')),
        Column(f'map_{task}', f'{task} mAP', at('multilabel', task, 'map')),
    ]


def _of_curve(figure: CaptionFigure, task: str, name: str) -> Callable[[RunResult], float | None]:
    def value(run: RunResult) -> float | None:
        curve = curves_of(run, figure).get(task)
        return curve.figures()[name] if curve else None

    return value
