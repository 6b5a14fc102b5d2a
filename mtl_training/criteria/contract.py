"""What a kind of task asks its outputs to fit."""

from __future__ import annotations

from typing import Any

from torch import nn, Tensor


class Criterion(nn.Module):
    """The loss of one kind of task, and a cheap figure of how well a batch is fitted."""

    figure = 'accuracy'  # what :meth:`fit` returns; larger is better
    kind = 'classification'  # or 'regression', of squared errors: what weightings ask for
    may_be_negative = False  # its loss, which not every weighting can weigh

    def __init__(self) -> None:
        super().__init__()
        # What the labels of a data set with targets of its own are rows of. No part of the state:
        # the data set knows them.
        self.register_buffer('targets', None, persistent=False)

    def learn_targets(self, targets: Tensor) -> None:
        """
        Take in what the labels of the training samples stand for.

        :param targets: Embedded sentences or distributions over the classes, ``[M, D]``.
        """
        self.targets = targets

    def _rows(self, labels: Tensor) -> Tensor:
        if self.targets is None:
            raise ValueError('the data set of the task has no targets.')
        return self.targets[labels]

    def forward(self, outputs: Any, batch: Any) -> Tensor:
        """
        Return the loss of every sample.

        :param outputs: Of the task's head for the batch.
        :param batch: As the data set of the task collates it.
        :return: ``[S, B]``, float32; S is 1 unless a sharing method samples its structure.
        """
        raise NotImplementedError

    def fit(self, outputs: Any, batch: Any) -> Tensor:
        """Return a figure in [0, 1] for the progress line, a scalar."""
        raise NotImplementedError


class SmoothedCriterion(Criterion):
    """
    A criterion of labels.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing must be in [0, 1), got {label_smoothing}.')
        self.label_smoothing = label_smoothing


def mean_of_people(values: Tensor, counts: Tensor) -> Tensor:
    """
    Return the mean over the people of each image; 0 for an image without any.

    :param values: ``[B, P]``.
    :param counts: Who counts, bool ``[B, P]``.
    :return: ``[B]``.
    """
    weights = counts.to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1)
