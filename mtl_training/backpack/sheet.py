"""Pictures and a page of what a task draws from its backpack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mtl_training.backpack.inspection import BackpackInspection, GroupCounts
from mtl_training.reporting.document import Block, Heading, Paragraph, Table
from mtl_training.reporting.drawing import panels, Pictures, save, shared_legend
import numpy as np

MAX_BARS, MAX_CONCEPTS, MAX_CLASSES = 3, 20, 20
MAX_ANNOTATED = 12
REST = 'rest'

CLOSEST = (
    'Which prototypes the nodes of each class are matched with before the first exchange: shares '
    'of all matches of the class, those of the {} most frequent concepts. A concept that one '
    'class alone is matched with tells it from the others.'
)
AGREEMENT = (
    'How often two perspectives decide the same; the last row and column are what all say '
    'together. In brackets: the accuracy of each by itself. Perspectives that disagree tell each '
    'other something.'
)
CONFUSION = (
    'What is mistaken for what: rows are the truth, columns what all perspectives say together, '
    'each row in shares. Beyond the {} most frequent labels all are one.'
)


def sheet_blocks(found: BackpackInspection, out: Path, title: str) -> list[Block]:
    """
    Draw the pictures into a folder and return the page that shows them.

    :param title: Of the page.
    """
    pictures = Pictures(out, found.task)
    known = ', '.join(found.known)
    blocks: list[Block] = [
        Heading(1, title),
        Paragraph(
            f'{found.num_windows} windows of {found.task} ({found.kind}). '
            f'In its backpack: {known}.'
        ),
    ]
    for name, counts in found.groups.items():
        if any(closest.sum() for closest in counts.closest.values()):
            drawn = pictures.draw(
                partial(_draw_closest, counts=counts, concepts=found.concepts),
                f'{name}: closest prototypes',
            )
            text = CLOSEST.format(MAX_CONCEPTS)
            blocks += [Heading(2, f'{name}: closest prototypes'), Paragraph(text), *drawn]
        drawn = pictures.draw(
            partial(_draw_agreement, counts=counts, names=found.perspectives),
            f'{name}: agreement',
        )
        blocks += [Heading(2, f'{name}: perspectives'), Paragraph(AGREEMENT), *drawn]
        blocks.append(_accuracy_table(counts, found.perspectives))
        drawn = pictures.draw(partial(_draw_confusion, counts=counts), f'{name}: confusion')
        text = CONFUSION.format(MAX_CLASSES)
        blocks += [Heading(2, f'{name}: confusion'), Paragraph(text), *drawn]
    return blocks


def with_rest(counts: Any, labels: Sequence[str], most: int) -> tuple[list[str], Any]:
    """
    Return the most frequent labels and their confusion, all others as one.

    :param counts: ``[C, C]``, rows are the truth.
    """
    order = np.argsort(-counts.sum(1), kind='stable')
    if len(labels) <= most:
        return list(labels), counts
    kept, others = sorted(order[:most]), order[most:]
    folded = np.zeros((most + 1, most + 1), dtype=counts.dtype)
    folded[:most, :most] = counts[np.ix_(kept, kept)]
    folded[most, :most] = counts[np.ix_(others, kept)].sum(0)
    folded[:most, most] = counts[np.ix_(kept, others)].sum(1)
    folded[most, most] = counts[np.ix_(others, others)].sum()
    return [*(labels[i] for i in kept), REST], folded


def _draw_closest(path: Path, *, counts: GroupCounts, concepts: Sequence[str]) -> bool:
    first = {task: found[0].numpy() for task, found in counts.closest.items() if len(found)}
    classes = [i for i, _ in enumerate(counts.classes) if any(f[i].sum() for f in first.values())]
    # The most frequent classes, in their own order.
    total = np.sum(list(first.values()), axis=0)
    classes = sorted(sorted(classes, key=lambda i: -total[i].sum())[:MAX_CLASSES])
    are_bars = len(classes) <= MAX_BARS
    rows = min(MAX_CONCEPTS, len(concepts))
    height = 1.6 + (0.30 * rows if are_bars else 0.34 * rows)
    width = 6.0 if are_bars else 3.5 + 0.42 * len(classes)
    # Below each other where panels are wide: a page would shrink what it shows side by side.
    columns = 2 if are_bars else 1
    figure, axes = panels(len(first), width=width, height=height, columns=columns)
    for axis, (task, found) in zip(axes, first.items()):
        shares = 100 * found / np.maximum(1, found.sum(1, keepdims=True))
        shown = np.argsort(-found.sum(0), kind='stable')[:MAX_CONCEPTS]
        names = [concepts[i] for i in shown]
        if are_bars:
            _bars(axis, shares[classes][:, shown], [counts.classes[i] for i in classes])
        else:
            values = shares[classes][:, shown].T
            image = axis.imshow(values, cmap='Blues', aspect='auto')
            labels = [counts.classes[i] for i in classes]
            axis.set_xticks(range(len(labels)), labels, rotation=60, ha='right', fontsize=9)
            figure.colorbar(image, ax=axis, format='%g').ax.set_title('%', fontsize=9)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.set_title(f'prototypes of {task}')
        if are_bars:
            axis.invert_yaxis()
    if are_bars:
        shared_legend(figure, axes[:1])
    save(figure, path)
    return True


def _bars(axis: Any, shares: Any, labels: Sequence[str]) -> None:
    thick = 0.8 / len(labels)
    for number, (row, label) in enumerate(zip(shares, labels)):
        places = np.arange(len(row)) - 0.4 + (number + 0.5) * thick
        axis.barh(places, row, height=thick, label=label, color=f'C{number}')
    axis.set_xlabel('share of the matches of the class, %')


def _draw_agreement(path: Path, *, counts: GroupCounts, names: Sequence[str]) -> bool:
    shares, accuracy = counts.agreement().numpy(), counts.accuracy().tolist()
    figure, (axis,) = panels(1, width=3.6 + 0.95 * len(names), height=1.9 + 0.62 * len(names))
    image = axis.imshow(100 * shares, vmin=0, vmax=100, cmap='Blues', aspect='auto')
    for (row, column), share in np.ndenumerate(shares):
        colour = 'white' if share > 0.6 else 'black'
        text = {'ha': 'center', 'va': 'center', 'color': colour, 'size': 10}
        axis.text(column, row, f'{100 * share:.1f}', **text)
    axis.set_xticks(range(len(names)), names, rotation=30, ha='right')
    said = [f'{name} ({100 * value:.1f} %)' for name, value in zip(names, accuracy)]
    axis.set_yticks(range(len(names)), said)
    axis.set_title('same decision, %')
    figure.colorbar(image, ax=axis, format='%g')
    save(figure, path)
    return True


def _accuracy_table(counts: GroupCounts, names: Sequence[str]) -> Table:
    shares, accuracy = counts.agreement()[-1].tolist(), counts.accuracy().tolist()
    rows = [
        [name, f'{100 * own:.2f}', f'{100 * same:.2f}']
        for name, own, same in zip(names, accuracy, shares)
    ]
    return Table(['perspective', 'accuracy alone %', 'decides as all together %'], rows)


def _draw_confusion(path: Path, *, counts: GroupCounts) -> bool:
    labels, matrix = with_rest(counts.confusion.counts.numpy(), counts.labels, MAX_CLASSES)
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    side = 2.6 + 0.42 * len(labels)
    figure, (axis,) = panels(1, width=side + 0.6, height=side)
    image = axis.imshow(100 * shares, vmin=0, vmax=100, cmap='Blues')
    if len(labels) <= MAX_ANNOTATED:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = 'white' if shares[row, column] > 0.6 else 'black'
                place = {'ha': 'center', 'va': 'center', 'color': colour, 'size': 9}
                axis.text(column, row, count, **place)
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha='right', fontsize=9)
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set(xlabel='said', ylabel='true')
    figure.colorbar(image, ax=axis, format='%g').ax.set_title('%', fontsize=9)
    save(figure, path)
    return True
