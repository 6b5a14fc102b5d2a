"""Accuracies per task and over all tasks, from confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class ConfusionMatrix:
    """
    Counts of (true label, predicted label) of one task.

    :param labels: The names of the labels.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.counts = torch.zeros(len(self.labels), len(self.labels), dtype=torch.int64)

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """
        Add predictions.

        :param predicted: Label numbers, ``[B]``.
        :param true: Label numbers, ``[B]``.
        """
        size = len(self.labels)
        pairs = true.cpu().long() * size + predicted.cpu().long()
        self.counts += torch.bincount(pairs, minlength=size * size).view(size, size)

    @property
    def num_samples(self) -> int:
        """Return how many predictions were added."""
        return int(self.counts.sum())

    @property
    def num_correct(self) -> int:
        """Return how many of them were right."""
        return int(self.counts.diagonal().sum())

    @property
    def accuracy(self) -> float:
        """Return the share of right predictions; 0 if there are none."""
        return self.num_correct / max(1, self.num_samples)

    def per_class(self) -> dict[str, dict[str, float | int]]:
        """Return recall, precision and the number of samples of every label."""
        right = self.counts.diagonal().tolist()
        true, predicted = self.counts.sum(1).tolist(), self.counts.sum(0).tolist()
        return {
            label: {
                'recall': right[i] / max(1, true[i]),
                'precision': right[i] / max(1, predicted[i]),
                'samples': true[i],
            }
            for i, label in enumerate(self.labels)
        }

    def worst_confusions(self, count: int = 3) -> list[tuple[str, str, int]]:
        """Return the most frequent mistakes as (true, predicted, how often)."""
        mistakes = self.counts.clone()
        mistakes.fill_diagonal_(0)
        values, places = mistakes.flatten().sort(descending=True, stable=True)
        size = len(self.labels)
        return [
            (self.labels[place // size], self.labels[place % size], value)
            for value, place in zip(values.tolist()[:count], places.tolist())
            if value
        ]


@dataclass(slots=True)
class Evaluation:
    """What came out of evaluating a network."""

    confusions: dict[str, ConfusionMatrix] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    people: dict[str, dict[str, float | None]] = field(default_factory=dict)  # per frame task
    captions: dict[str, dict[str, Any]] = field(default_factory=dict)  # retrieval
    multilabel: dict[str, dict[str, Any]] = field(default_factory=dict)  # average precision
    videos: dict[str, dict[str, Any]] = field(default_factory=dict)  # of several clips each
    segments: dict[str, dict[str, Any]] = field(default_factory=dict)  # of windows of features
    frames: list[Any] = field(default_factory=list)  # what the figures of people came from

    @property
    def scores(self) -> dict[str, float]:
        """Return what stands for each task in a choice between networks, in [0, 1]."""
        clips = {t: m.accuracy for t, m in self.confusions.items() if t not in self.people}
        clips |= {task: row['map'] or 0.0 for task, row in self.multilabel.items()}
        others = {**self.captions, **self.people, **self.segments}
        return clips | {task: row.get('score') or 0.0 for task, row in others.items()}

    @property
    def mean_score(self) -> float:
        """Return the mean of the tasks' scores."""
        return sum(self.scores.values()) / max(1, len(self.scores))

    @property
    def cumulative_accuracy(self) -> float:
        """Return the share of right predictions over the samples of all tasks."""
        matrices = self.confusions.values()
        return sum(m.num_correct for m in matrices) / max(1, sum(m.num_samples for m in matrices))

    @property
    def mean_accuracy(self) -> float:
        """Return the mean of the tasks' accuracies."""
        return sum(m.accuracy for m in self.confusions.values()) / max(1, len(self.confusions))

    def summary(self) -> dict[str, Any]:
        """Return the figures that a log wants."""
        return {
            'accuracy': {task: matrix.accuracy for task, matrix in self.confusions.items()},
            'cumulative_accuracy': self.cumulative_accuracy,
            'mean_accuracy': self.mean_accuracy,
            'loss': dict(self.losses),
            'samples': {task: matrix.num_samples for task, matrix in self.confusions.items()},
            **{name: rows for name, rows in self._others().items() if rows},
            **({'mean_score': self.mean_score} if any(self._others().values()) else {}),
        }

    def _others(self) -> dict[str, dict[str, Any]]:
        names = ('people', 'captions', 'multilabel', 'videos', 'segments')
        return {name: getattr(self, name) for name in names}

    def details(self) -> dict[str, Any]:
        """Return everything, with the tables of each task."""
        tasks = {
            task: {
                'accuracy': matrix.accuracy,
                'samples': matrix.num_samples,
                'labels': list(matrix.labels),
                'per_class': matrix.per_class(),
                'confusion': matrix.counts.tolist(),
            }
            for task, matrix in self.confusions.items()
        }
        return {**self.summary(), 'tasks': tasks}
