"""Tables of how well people are found, and of what they are said to do."""

from __future__ import annotations

from typing import Any

from mtl_perception.network.config import NetworkConfig
from mtl_training.fitting_tables import print_table
from mtl_training.frame_evaluation import FrameEvaluation
from mtl_training.metrics import Evaluation
from rich.console import Console
from rich.table import Table

# Of each kind of task: what it is called here, and its figures with their columns.
_COCO = {'ap': 'AP', 'ap50': 'AP50', 'ap75': 'AP75', 'ar': 'AR'}
_TITLES = {
    'detection': 'boxes',
    'keypoints': 'poses, end to end',
    'association': 'poses in the true boxes',
}
_ACTIVITY = {
    'accuracy': 'accuracy of the people found',
    'accuracy_of_all': 'accuracy over all people',
    'found': 'share of people found',
    'precision': 'macro precision',
    'recall': 'macro recall',
    'f1': 'macro F1',
}


def print_people(
    console: Console, evaluation: Evaluation, network: NetworkConfig, title: str
) -> None:
    """Print the figures of the frame tasks; nothing where none was evaluated."""
    if not evaluation.people:
        return
    images = sum(found.num_images for found in evaluation.frames)
    table = Table(title=title, caption=f'{images} images')
    for column in ('task', 'what', *_COCO.values(), 'loss'):
        table.add_column(column, justify='left' if column in ('task', 'what') else 'right')
    for task, figures in evaluation.people.items():
        kind = network.tasks[task].kind
        if kind in _TITLES:
            numbers = [_share(figures.get(name)) for name in _COCO]
            table.add_row(task, _TITLES[kind], *numbers, _loss(evaluation, task))
    if table.row_count:
        print_table(console, table, num_names=2)
    for found in evaluation.frames:
        for task in found.tasks:
            if network.tasks[task].kind == 'activity':
                _print_activity(console, evaluation, task, found)


def people_details(evaluation: Evaluation, network: NetworkConfig) -> dict[str, Any]:
    """Return what a JSON document says of people beyond the summary: figures per activity."""
    per_class = {
        task: found.activities.per_class()
        for found in evaluation.frames
        for task in found.tasks
        if network.tasks[task].kind == 'activity' and found.num_known
    }
    images = sum(found.num_images for found in evaluation.frames)
    return {'images': images, 'activities': per_class} if evaluation.frames else {}


def _print_activity(
    console: Console, evaluation: Evaluation, task: str, found: FrameEvaluation
) -> None:
    table = Table(title=f'{task}: {found.num_known} people', show_header=False)
    figures = evaluation.people[task]
    for name, text in _ACTIVITY.items():
        table.add_row(text, _share(figures.get(name)))
    table.add_row('loss, with the true poses', _loss(evaluation, task))
    console.print(table)
    if not found.num_known:
        return
    classes = Table(title=f'{task}: people found')
    for column in ('label', 'precision', 'recall', 'F1', 'people'):
        classes.add_column(column, justify='left' if column == 'label' else 'right')
    is_said = found.activities.confusion.counts.any(0).tolist()
    for number, (label, row) in enumerate(found.activities.per_class().items()):
        # A share of nobody is none.
        is_known = {'precision': is_said[number], 'recall': row['samples'], 'f1': row['samples']}
        numbers = [_share(row[name] if known else None) for name, known in is_known.items()]
        classes.add_row(label, *numbers, str(row['samples']))
    console.print(classes)


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.1%}'


def _loss(evaluation: Evaluation, task: str) -> str:
    return f'{evaluation.losses[task]:.3f}' if task in evaluation.losses else '-'
