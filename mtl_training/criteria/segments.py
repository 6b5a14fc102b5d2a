"""What the tasks of windows of features fit: actions now and to come, changes of objects."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_training.criteria.contract import Criterion, SmoothedCriterion
from mtl_training.data.graph_sample import GraphBatch, UNKNOWN
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

AVERAGES = ('valid', 'all')


class LabelGroupsCriterion(SmoothedCriterion):
    """
    Cross-entropy of the labels of several groups, such as verb and noun, summed over the groups.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    :param averages: valid: the mean over the nodes that have a label. all: the sum over these,
        divided by all nodes of the window, those that are asked nothing included; the published
        code does so, which makes the loss smaller by a constant factor.
    """

    def __init__(self, *, label_smoothing: float = 0.0, averages: str = 'valid') -> None:
        super().__init__(label_smoothing=label_smoothing)
        if averages not in AVERAGES:
            raise ValueError(f'averages must be one of {AVERAGES}, got {averages!r}.')
        self.averages = averages

    def _losses(self, outputs: Mapping[str, Tensor], targets: Tensor, num_others: int) -> Tensor:
        """
        Return the loss of every window.

        :param outputs: Per group ``[B, F, C]``.
        :param targets: ``[B, F, G]``.
        :param num_others: Nodes of a window that are asked nothing.
        :return: ``[1, B]``.
        """
        total = torch.zeros(len(targets), device=targets.device)
        for group, logits in enumerate(outputs.values()):
            wanted = targets[..., group]
            values = cross_entropy(
                logits.float().flatten(0, 1),
                wanted.flatten(),
                ignore_index=UNKNOWN,
                reduction='none',
                label_smoothing=self.label_smoothing,
            )
            counts = (wanted != UNKNOWN).sum(1).clamp_min(1)
            if self.averages == 'all':
                counts = torch.full_like(counts, wanted.shape[1] + num_others)
            total = total + values.view_as(wanted).sum(1) / counts
        return total.unsqueeze(0)


class RecognitionCriterion(LabelGroupsCriterion):
    """
    Cross-entropy of the action at the centre of a window, summed over the groups of its labels.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    :param averages: valid, or all: divided by the number of nodes, as in the published code.
    """

    def forward(self, outputs: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Return the loss of every window, ``[1, B]``; outputs are ``[B, C]`` per group."""
        one_node = {group: logits.unsqueeze(1) for group, logits in outputs.items()}
        num_others = batch.features.shape[1] - 1
        return self._losses(one_node, batch.targets.unsqueeze(1), num_others)

    def fit(self, outputs: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Return the mean of the groups' accuracies."""
        rows = [logits.argmax(1) == batch.targets[:, g] for g, logits in _numbered(outputs)]
        return torch.stack(rows).float().mean()


class AnticipationCriterion(LabelGroupsCriterion):
    """
    Cross-entropy of the actions to come, the mean over those known, summed over the groups.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    :param averages: valid, or all: divided by the number of nodes, as in the published code.
    """

    def forward(self, outputs: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Return the loss of every window, ``[1, B]``; outputs are ``[B, F, C]`` per group."""
        return self._losses(outputs, batch.targets, batch.features.shape[1])

    def fit(self, outputs: Mapping[str, Tensor], batch: GraphBatch) -> Tensor:
        """Return the accuracy of the most probable label of each future action that is known."""
        rows = [logits.argmax(2) == batch.targets[..., g] for g, logits in _numbered(outputs)]
        known = (batch.targets != UNKNOWN).sum().clamp_min(1)
        # What is unknown is no label, so that nothing equals it.
        return torch.stack(rows).sum() / known


class StateChangeCriterion(SmoothedCriterion):
    """
    Cross-entropy of whether an object changes its state.

    :param label_smoothing: Share of the target spread over both answers, in [0, 1).
    """

    def forward(self, outputs: Tensor, batch: GraphBatch) -> Tensor:
        """Return the loss of every window, ``[1, B]``; outputs are ``[B, 2]``."""
        smoothing = self.label_smoothing
        losses = cross_entropy(
            outputs.float(), batch.targets, reduction='none', label_smoothing=smoothing
        )
        return losses.unsqueeze(0)

    def fit(self, outputs: Tensor, batch: GraphBatch) -> Tensor:
        """Return the accuracy."""
        return (outputs.argmax(1) == batch.targets).float().mean()


class PointOfNoReturnCriterion(Criterion):
    """Binary cross-entropy of every node: 1 at the one nearest to the point of no return."""

    def forward(self, outputs: Tensor, batch: GraphBatch) -> Tensor:
        """Return the mean over the nodes of every window, ``[1, B]``; outputs are ``[B, N]``."""
        nodes = torch.arange(outputs.shape[1], device=outputs.device)
        wanted = (nodes == batch.targets.unsqueeze(1)).float()
        losses = binary_cross_entropy_with_logits(outputs.float(), wanted, reduction='none')
        return losses.mean(1).unsqueeze(0)

    def fit(self, outputs: Tensor, batch: GraphBatch) -> Tensor:
        """Return how often the most probable node is the right one."""
        return (outputs.argmax(1) == batch.targets).float().mean()


def _numbered(outputs: Mapping[str, Tensor]) -> list[tuple[int, Tensor]]:
    return list(enumerate(outputs.values()))
