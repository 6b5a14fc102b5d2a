"""What a report says of how well people are found, and what they do."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.reporting.columns import at, Column, figure_table, known
from mtl_training.reporting.document import Block, Heading, Paragraph
from mtl_training.reporting.run_result import RunResult
from mtl_training.reporting.tables import Method

FIGURES = {
    'ap': 'AP',
    'ap50': 'AP50',
    'ap75': 'AP75',
    'ar': 'AR',
    'accuracy': 'accuracy of people found',
    'accuracy_of_all': 'accuracy over all people',
    'found': 'found',
    'f1': 'macro F1',
}
TEXT = (
    "COCO's average precision and recall of boxes and poses. Of activities: the accuracy over the "
    'people who were found, and over all; the share of people who were found; macro F1.'
)


def people_columns(runs: Sequence[RunResult]) -> list[Column]:
    """Return the figures of boxes, poses and activities that a run has."""
    tasks = dict.fromkeys(task for run in runs for task in run.figures.get('people', {}))
    columns = [
        Column(f'people_{name}_{task}', f'{task} {title}', at('people', task, name))
        for task in tasks
        for name, title in FIGURES.items()
    ]
    return known(columns, runs)


def people_blocks(methods: Sequence[Method]) -> list[Block]:
    """Return the table of people; nothing where no run has any."""
    columns = people_columns([run for method in methods for run in method.runs])
    if not columns:
        return []
    return [Heading(3, 'People'), Paragraph(TEXT), figure_table(methods, columns)]
