"""The report of a task that was learnt from a few clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_perception.atomic_file import write_atomically
from mtl_training.backpack.clips import LabelledClips
from mtl_training.backpack.comparing import BACKPACK, Comparison, FINE_TUNING, METHODS
from mtl_training.backpack.novel_task import NovelConfig
from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.report import draw_confusions
from mtl_training.reporting.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_markdown,
)
from mtl_training.reporting.drawing import panels, save
from mtl_training.reporting.html import to_html
import numpy as np
from numpy.typing import NDArray
import torch

NUM_CLOSEST = 3
_METHODS = {
    BACKPACK: 'asks the known tasks, with their prototypes',
    FINE_TUNING: 'a new head on the same trunk, and no more',
    'chance': 'always the most frequent class',
}


def write_report(
    folder: Path,
    novel: NovelConfig,
    clips: LabelledClips,
    found: Comparison,
    matches: Mapping[str, NDArray[np.int64]],
    concepts: Sequence[str],
) -> None:
    """
    Write report.md, report.html and their pictures.

    :param matches: As of :func:`matched_concepts`, of all clips.
    :param concepts: Names of the prototypes.
    """
    pictures = folder / 'pictures'
    pictures.mkdir(parents=True, exist_ok=True)
    curves, confusions = pictures / 'accuracy.png', pictures / 'confusion.png'
    _draw_accuracy(curves, found)
    draw_confusions(_confusions(novel, clips, found), confusions)
    blocks: list[Block] = [
        Heading(1, f'The task {novel.name}, learnt from {len(clips.labels)} clips'),
        Paragraph(
            f'Figures are of clips that were held out: {len(found.folds)} folds over the videos, '
            'the same for both methods, with the same seeds. The trunk is frozen: what the '
            'network could do before, it does bit for bit as before.'
        ),
        _accuracy_table(clips, found),
        Paragraph(_verdict(clips, found)),
        Heading(2, 'With how many clips'),
        _size_table(found),
        Picture(curves, 'Accuracy on held-out clips by the number of clips of each class'),
        Heading(2, 'Which classes'),
        _class_table(clips, found),
        Picture(confusions, 'What held-out clips were taken for'),
        Heading(2, 'What each class resembles'),
        Paragraph(
            'The prototypes that the clips of each class were first matched with, the most '
            'frequent ones, and in which share of the clips.'
        ),
        *[_match_table(task, clips, rows, concepts) for task, rows in matches.items()],
        Heading(2, 'Settings'),
        Bullets(_settings(novel, clips)),
    ]
    write_atomically(folder / 'report.md', to_markdown(blocks).encode())
    write_atomically(folder / 'report.html', to_html(blocks, novel.name).encode())


def summary_of(clips: LabelledClips, found: Comparison) -> dict[str, Any]:
    """Return the figures as plain values."""
    return {
        'clips': len(clips.labels),
        'folds': len(found.folds),
        'chance': found.chance,
        'accuracy': {method: found.overall(method, clips.labels) for method in METHODS},
        'by_clips': {
            method: {str(size): float(np.mean(values)) for size, values in by_size.items()}
            for method, by_size in found.accuracy.items()
        },
    }


def _accuracy_table(clips: LabelledClips, found: Comparison) -> Table:
    rows = []
    for method in METHODS:
        folds = [*found.accuracy[method].values()][-1]
        rows.append(
            [
                method,
                _METHODS[method],
                f'{found.overall(method, clips.labels):.1%}',
                f'{np.std(folds):.1%}',
                f'{min(folds):.1%} to {max(folds):.1%}',
            ]
        )
    rows.append(['chance', _METHODS['chance'], f'{found.chance:.1%}', '', ''])
    header = ['method', '', 'accuracy', 'deviation over folds', 'lowest and highest fold']
    return Table(header, rows, num_names=2)


def _verdict(clips: LabelledClips, found: Comparison) -> str:
    """Say whether the difference is more than what one clip, or the folds, make."""
    ours, theirs = (found.overall(method, clips.labels) for method in METHODS)
    last = [[*found.accuracy[method].values()][-1] for method in METHODS]
    gaps = np.asarray(last[0]) - np.asarray(last[1])
    error = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    if ours == theirs:
        return f'Both are equal; one clip is {1 / len(clips.labels):.1%}.'
    points = f'{abs(ours - theirs) * 100:.1f} points'
    text = f'The backpack is {points} {"better" if ours >= theirs else "worse"} than fine-tuning; '
    text += f'one clip is {100 / len(clips.labels):.1f}. '
    if abs(ours - theirs) <= max(2 * error, 1.5 / len(clips.labels)):
        return text + 'That is within what chance does with so few clips.'
    return text + f'Over the folds the standard error of the difference is {error * 100:.1f}.'


def _size_table(found: Comparison) -> Table:
    by_size = found.accuracy[BACKPACK]
    rows = [
        [str(size), *(_spread(found.accuracy[method][size]) for method in METHODS)]
        for size in sorted(by_size)
    ]
    return Table(['clips of each class', *METHODS], rows)


def _spread(values: Sequence[float]) -> str:
    return f'{np.mean(values):.1%} ± {np.std(values):.1%}'


def _class_table(clips: LabelledClips, found: Comparison) -> Table:
    rows = []
    for label, name in enumerate(clips.classes):
        own = [i for i, other in enumerate(clips.labels) if other == label]
        shares = [
            f'{np.mean([found.predictions[method][i] == label for i in own]):.0%}'
            for method in METHODS
        ]
        rows.append([name, str(len(own)), *shares])
    return Table(['class', 'clips', *METHODS], rows)


def _match_table(
    task: str, clips: LabelledClips, rows: NDArray[np.int64], concepts: Sequence[str]
) -> Table:
    lines = []
    for label, name in enumerate(clips.classes):
        own = [i for i, other in enumerate(clips.labels) if other == label]
        counts = Counter(int(concept) for i in own for concept in rows[i])
        cells = [f'{concepts[c]} ({n / len(own):.0%})' for c, n in counts.most_common(NUM_CLOSEST)]
        lines.append([name, *cells, *[''] * (NUM_CLOSEST - len(cells))])
    header = [f'as {task} sees it', *(f'{n + 1}.' for n in range(NUM_CLOSEST))]
    return Table(header, lines, num_names=1 + NUM_CLOSEST)


def _settings(novel: NovelConfig, clips: LabelledClips) -> list[str]:
    counts = [f'{n} {name}' for name, n in zip(clips.classes, clips.counts())]
    lines = [
        f'clips: {", ".join(counts)}',
        f'{novel.iterations} iterations, batches of {novel.batch_size}, seed {novel.seed}',
        f'a window is of {novel.num_rows} features',
    ]
    return [*lines, *(f"left out: '{p}': {reason}" for p, reason in clips.failed.items())]


def _confusions(novel: NovelConfig, clips: LabelledClips, found: Comparison) -> Evaluation:
    result = Evaluation()
    for method in METHODS:
        matrix = ConfusionMatrix(novel.classes)
        matrix.update(torch.tensor(found.predictions[method]), torch.tensor(clips.labels))
        result.confusions[method] = matrix
    return result


def _draw_accuracy(path: Path, found: Comparison) -> None:
    figure, (axis,) = panels(1, width=6.4, height=4.0)
    for method, colour in zip(METHODS, ('C0', 'C1')):
        by_size = found.accuracy[method]
        numbers = np.array(sorted(by_size))
        means = np.array([np.mean(by_size[n]) for n in numbers])
        spread = np.array([np.std(by_size[n]) for n in numbers])
        axis.plot(numbers, means, marker='o', color=colour, label=method)
        low, high = (means - spread).clip(0), (means + spread).clip(max=1)
        axis.fill_between(numbers, low, high, color=colour, alpha=0.15)
    axis.axhline(found.chance, color='grey', linestyle=':', label='chance')
    axis.set(xlabel='clips of each class', ylabel='accuracy on held-out clips', ylim=(0, 1.02))
    axis.set_xticks(numbers, numbers)
    axis.legend(loc='lower right', fontsize=8)
    save(figure, path)
