"""How well it is told what people do: figures of one fold, and over the folds."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.data.frame_sample import UNKNOWN
from mtl_training.metrics import ConfusionMatrix
from mtl_training.reporting.run_result import Spread, spread
import torch
from torch import Tensor


class ActivityReport:
    """
    Accuracy, precision, recall and F1 of the activities of people.

    Macro figures are plain means over the labels that were true or predicted at least once; a
    share of nothing is 0. Only people who were matched can be scored: the share of people who are
    found at all is a figure of the detection.

    :param labels: The names of the activities.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.confusion = ConfusionMatrix(labels)

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """
        Add people; those of whom nobody said what they do are left out.

        :param predicted: Label numbers, ``[B]``.
        :param true: Label numbers or ``UNKNOWN``, ``[B]``.
        :raises ValueError: If the lengths differ or a number is not that of a label.
        """
        if predicted.shape != true.shape:
            raise ValueError(
                'predicted and true must have the same shape, got '
                f'{list(predicted.shape)} and {list(true.shape)}.'
            )
        is_known = true != UNKNOWN
        predicted, true = predicted[is_known], true[is_known]
        count = len(self.confusion.labels)
        for name, numbers in (('predicted', predicted), ('true', true)):
            wrong = numbers[(numbers < 0) | (numbers >= count)]
            if len(wrong):
                raise ValueError(f'{name} must be from 0 to {count - 1}, got {int(wrong[0])}.')
        self.confusion.update(predicted, true)

    def summary(self) -> dict[str, float]:
        """Return ``accuracy`` and macro ``precision``, ``recall`` and ``f1``."""
        counts = self.confusion.counts
        occurs = ((counts.sum(0) + counts.sum(1)) > 0).tolist()
        rows = [row for row, counted in zip(self.per_class().values(), occurs) if counted]
        macro = {
            name: sum(row[name] for row in rows) / max(1, len(rows))
            for name in ('precision', 'recall', 'f1')
        }
        return {'accuracy': self.confusion.accuracy, **macro}

    def per_class(self) -> dict[str, dict[str, float | int]]:
        """Return ``precision``, ``recall``, ``f1`` and the number of ``samples`` per label."""
        return {
            label: {**row, 'f1': _f1(row['precision'], row['recall'])}
            for label, row in self.confusion.per_class().items()
        }


def across_folds(reports: Sequence[ActivityReport]) -> dict[str, Spread]:
    """
    Return mean and sample standard deviation of each figure of the summaries.

    :raises ValueError: If there is no report.
    """
    _check_folds(reports)
    summaries = [report.summary() for report in reports]
    return {
        name: figure
        for name in summaries[0]
        if (figure := spread([summary[name] for summary in summaries]))
    }


def pooled(reports: Sequence[ActivityReport]) -> ActivityReport:
    """
    Return the report of the people of all folds together.

    :raises ValueError: If there is no report, or their labels differ.
    """
    _check_folds(reports)
    total = ActivityReport(reports[0].confusion.labels)
    total.confusion.counts = torch.stack([r.confusion.counts for r in reports]).sum(0)
    return total


def _check_folds(reports: Sequence[ActivityReport]) -> None:
    if not reports:
        raise ValueError('reports must not be empty, got none.')
    if len(labels := {report.confusion.labels for report in reports}) > 1:
        raise ValueError(f'reports must have the same labels, got {sorted(labels)}.')


def _f1(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0
