"""Tests of tables where a class has no samples: a share of nothing is none."""

import io
from types import SimpleNamespace
from typing import Any

from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.people_report import print_people
from mtl_training.pose_metrics.activities import ActivityReport
from mtl_training.report import print_evaluation
from rich.console import Console
import torch

LABELS = ('sit', 'walk', 'fly', 'swim')
# All walk; one is said to sit. Nobody flies, or is said to; nobody is said to swim.
TRUE, PREDICTED = torch.tensor([1, 1, 3]), torch.tensor([1, 0, 1])


def rows_of(printed: str) -> dict[str, list[str]]:
    """Return the cells of each row that begins with a label."""
    rows = [[cell.strip() for cell in line.strip('│').split('│')] for line in printed.splitlines()]
    return {row[0].split()[-1]: row[1:] for row in rows if row[0] and row[0].split()[-1] in LABELS}


def test_classes_without_samples_have_no_recall_in_the_confusion_matrix() -> None:
    matrix = ConfusionMatrix(LABELS)
    matrix.update(PREDICTED, TRUE)
    file = io.StringIO()
    print_evaluation(Console(file=file, width=120), Evaluation({'a': matrix}, {'a': 0.5}), 'test')
    shares = {label: cells[:2] for label, cells in rows_of(file.getvalue()).items()}
    assert shares == {
        'sit': ['-', '0%'],
        'walk': ['50%', '50%'],
        'fly': ['-', '-'],
        'swim': ['0%', '-'],
    }


def test_activities_of_nobody_have_no_figures() -> None:
    report = ActivityReport(LABELS)
    report.update(PREDICTED, TRUE)
    frames: Any = SimpleNamespace(num_images=3, tasks=('a',), num_known=3, activities=report)
    evaluation = Evaluation({}, people={'a': {'accuracy': 1 / 3}}, frames=[frames])
    network: Any = SimpleNamespace(tasks={'a': SimpleNamespace(kind='activity')})
    file = io.StringIO()
    print_people(Console(file=file, width=120), evaluation, network, 'test')
    shares = {label: cells[:3] for label, cells in rows_of(file.getvalue()).items()}
    assert shares == {
        'sit': ['0.0%', '-', '-'],
        'walk': ['50.0%', '50.0%', '50.0%'],
        'fly': ['-', '-', '-'],
        'swim': ['-', '0.0%', '0.0%'],
    }
