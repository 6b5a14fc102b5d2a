"""What a report says of classes, sentences and rounds: learning from disjoint data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
import json
from pathlib import Path
from statistics import fmean

from mtl_perception.network.config import to_mapping
from mtl_training.regimes.rounds import LAMBDA_A, LAMBDA_S
from mtl_training.reporting.columns import Column, figure_table, labels_of
from mtl_training.reporting.disjoint_figures import (
    curves_of,
    has_figures,
    result_columns,
    retrieval_columns,
    round_columns,
    ROUND_FIGURES,
)
from mtl_training.reporting.document import Block, Details, Heading, Paragraph
from mtl_training.reporting.drawing import Pictures
from mtl_training.reporting.round_figures import draw_forgetting, draw_lambda_grid, METRIC_NAMES
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.tables import Method

LAMBDAS = {'lambda_A': LAMBDA_A, 'lambda_S': LAMBDA_S}
MAX_PANELS = 4  # of a grid among the curves; the heat maps show larger ones
Grid = dict[tuple[float, float], Method]

RESULTS = (
    'Hit@1: the share of clips whose most likely class is right; Acc: of videos, by the mean of '
    'their clips; mAP: mean average precision. R@k: the share of clips with a true sentence among '
    'the k nearest of the pool, Med r and Mean r: the median and mean rank of the first true one; '
    'pool: how many sentences were ranked, one of each item of the split. Figures of pools of '
    'different sizes can not be compared. Shares in %.'
)
SMALL_POOLS = (
    'The same with a small random pool for each clip, of a true sentence and others, the mean '
    'over several draws: for comparison with sources that rank few sentences.'
)
FORGETTING = (
    'On the validation split, after every round. F: what a round on the data of others takes from '
    'a task, before minus after, the mean over the rounds that follow the first one of its own; '
    'negative if it rose. final: after the last round; best: after any. In % and points. A method '
    'without rounds has no F, its values are those of its validations.'
)


def disjoint_blocks(methods: Sequence[Method], pictures: Pictures) -> list[Block]:
    """Return tables, curves and heat maps; nothing where there are accuracies of clips alone."""
    runs = [run for method in methods for run in method.runs]
    if not any(map(has_figures, runs)):
        return []
    blocks: list[Block] = [
        Heading(3, 'Classes and sentences'),
        Paragraph(RESULTS),
        figure_table(methods, result_columns(runs)),
    ]
    if small := retrieval_columns(runs, small=True):
        blocks += [
            Heading(3, 'Small pools of sentences'),
            Paragraph(SMALL_POOLS),
            figure_table(methods, small),
        ]
    if any(run.has_rounds for run in runs):
        columns = round_columns(runs)
        blocks += [
            Heading(3, 'What is forgotten'),
            Paragraph(FORGETTING),
            figure_table(methods, columns),
            *_curves(methods, pictures),
        ]
    return blocks + _heat_maps(methods, result_columns(runs), pictures)


def lambda_grids(methods: Sequence[Method]) -> list[Grid]:
    """Return the methods that differ in their lambdas alone, two or more of each kind."""
    grids: dict[str, Grid] = {}
    for method in methods:
        config = method.runs[0].config
        if config is None or not method.runs[0].has_rounds:
            continue
        plain = to_mapping(config)
        settings = plain['regime']['settings']
        lambda_a, lambda_s = (settings.pop(name, usual) for name, usual in LAMBDAS.items())
        plain.pop('seed')
        key = json.dumps([method.sharing, method.weighting, plain], sort_keys=True)
        grids.setdefault(key, {})[lambda_a, lambda_s] = method
    return [grid for grid in grids.values() if len(grid) > 1]


def _curves(methods: Sequence[Method], pictures: Pictures) -> list[Block]:
    many = [m.name for g in lambda_grids(methods) if len(g) > MAX_PANELS for m in g.values()]
    names = labels_of(methods)
    chosen = {
        names[m.name]: [run for run in m.runs if run.has_rounds]
        for m in methods
        if m.name not in many and any(run.has_rounds for run in m.runs)
    }
    if not chosen:
        return []
    has_captions = any(run.figures.get('captions') for runs in chosen.values() for run in runs)
    blocks: list[Block] = []
    for figure in ROUND_FIGURES if has_captions else ROUND_FIGURES[:1]:
        curves = {name: [curves_of(run, figure) for run in runs] for name, runs in chosen.items()}

        def draw(path: Path, curves: Mapping[str, list] = curves) -> bool:  # type: ignore[type-arg]
            draw_forgetting(curves, path)
            return True

        shown = f' ({METRIC_NAMES[figure]} of captions)' if has_captions else ''
        text = (
            f'Validation after every round{shown}; thin: runs, thick: their mean; the ground has '
            'the colour of the task that the round trains.'
        )
        blocks += pictures.draw(draw, text)
    return [Heading(3, 'Forgetting and recovery over the rounds'), *blocks]


def _heat_maps(
    methods: Sequence[Method], columns: Sequence[Column], pictures: Pictures
) -> list[Block]:
    grids, blocks = lambda_grids(methods), list[Block]()
    for grid in grids:
        drawn: list[Block] = []
        for column in (c for c in columns if c.unit == 'share'):
            found = {pair: _mean(method.runs, column) for pair, method in grid.items()}
            known = {pair: value for pair, value in found.items() if value is not None}
            if known:
                draw = partial(_draw_grid, grid=known, title=column.title)
                text = f'{column.title} over the lambdas, in %, mean over seeds.'
                drawn += pictures.draw(draw, text)
        first = next(iter(grid.values()))
        blocks.append(Details(f'{len(grid)} pairs of lambdas: {first.name} and others', drawn))
    return [Heading(3, 'The lambdas'), *blocks] if blocks else []


def _draw_grid(path: Path, *, grid: Mapping[tuple[float, float], float], title: str) -> bool:
    draw_lambda_grid(grid, path, title)
    return True


def _mean(runs: Sequence[RunResult], column: Column) -> float | None:
    values = [value for run in runs if (value := column.value(run)) is not None]
    return fmean(values) if values else None
