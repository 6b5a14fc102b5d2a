"""Tables of how well sentences are retrieved, classes ranked, videos and windows judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtl_training.fitting_tables import print_table
from mtl_training.metrics import Evaluation
from mtl_training.segment_evaluation import shown_figures
from rich.console import Console
from rich.table import Table

RECALLS = {'r1': 'R@1', 'r5': 'R@5', 'r10': 'R@10'}
RANKS = {'median_rank': 'Med r', 'mean_rank': 'Mean r'}


def print_clips(console: Console, evaluation: Evaluation, title: str) -> None:
    """Print the figures of captions, of several classes at once and of whole videos, if any."""
    _print_captions(console, evaluation, title)
    _print_multilabel(console, evaluation, title)
    _print_videos(console, evaluation)
    _print_segments(console, evaluation, title)


def protocols(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what the sentences to choose from were, and the figures, as far as they are known."""
    yield 'one sentence per item', figures
    if found := figures.get('all_sentences'):
        yield 'all sentences', found
    if found := figures.get('small_pools'):
        yield 'random pools', found


def _print_captions(console: Console, evaluation: Evaluation, title: str) -> None:
    if not evaluation.captions:
        return
    table = Table(title=f'{title}: sentences retrieved')
    table.add_column('task')
    table.add_column('of')
    for column in (*RECALLS.values(), *RANKS.values(), 'pool', 'clips', 'loss'):
        table.add_column(column, justify='right', no_wrap=True)
    for task, found in evaluation.captions.items():
        for pool, figures in protocols(found):
            shares = [f'{figures[name]:.1%}' for name in RECALLS]
            ranks = [f'{figures[name]:.1f}' for name in RANKS]
            counts = (str(figures['pool']), str(figures['queries']))
            table.add_row(task, pool, *shares, *ranks, *counts, f'{evaluation.losses[task]:.3f}')
    print_table(console, table, num_names=2)


def _print_multilabel(console: Console, evaluation: Evaluation, title: str) -> None:
    if not evaluation.multilabel:
        return
    table = Table(title=f'{title}: several classes at once')
    for column in ('task', 'mAP', 'mAP, 11 points', 'Hit@1', 'images', 'loss'):
        table.add_column(column, justify='left' if column == 'task' else 'right')
    for task, figures in evaluation.multilabel.items():
        shares = [_share(figures[name]) for name in ('map', 'map_11_points', 'hit_at_1')]
        table.add_row(task, *shares, str(figures['images']), f'{evaluation.losses[task]:.3f}')
    print_table(console, table)
    for task, figures in evaluation.multilabel.items():
        classes = Table('label', title=f'{task}: average precision')
        classes.add_column('AP', justify='right')
        for label, precision in figures['per_class'].items():
            classes.add_row(label, _share(precision))
        console.print(classes)


def _print_videos(console: Console, evaluation: Evaluation) -> None:
    if not evaluation.videos:
        return
    table = Table(title='whole videos: the mean of what is said of their clips')
    for column in ('task', 'accuracy', 'videos', 'of clips', 'clips'):
        table.add_column(column, justify='left' if column == 'task' else 'right')
    for task, figures in evaluation.videos.items():
        shares = [_share(figures[name]) for name in ('accuracy', 'clip_accuracy')]
        table.add_row(task, shares[0], str(figures['videos']), shares[1], str(figures['clips']))
    print_table(console, table)


def _print_segments(console: Console, evaluation: Evaluation, title: str) -> None:
    if not evaluation.segments:
        return
    table = Table(title=f'{title}: windows of features')
    for column in ('task', 'figures', 'score', 'windows', 'loss'):
        table.add_column(column, justify='left' if column in ('task', 'figures') else 'right')
    for task, row in evaluation.segments.items():
        figures, loss = ', '.join(shown_figures(row)), evaluation.losses[task]
        table.add_row(task, figures, f'{row["score"]:.3f}', str(row['samples']), f'{loss:.3f}')
    print_table(console, table)


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.1%}'
