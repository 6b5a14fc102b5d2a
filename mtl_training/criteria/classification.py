"""Cross-entropy of clips."""

from __future__ import annotations

from mtl_training.criteria.contract import SmoothedCriterion
from mtl_training.data.sample import ClipBatch
from torch import Tensor
from torch.nn.functional import cross_entropy


class ClassificationCriterion(SmoothedCriterion):
    """
    Cross-entropy.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    """

    def forward(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the cross-entropy of every clip in every sample of the network's structure."""
        return sample_losses(outputs, batch.labels, label_smoothing=self.label_smoothing)

    def fit(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the accuracy."""
        return (outputs.argmax(1).view(-1, len(batch.labels)) == batch.labels).float().mean()


def sample_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the cross-entropy of every clip in every sample of the network's structure.

    :param logits: ``[S * B, C]``.
    :param labels: ``[B]``.
    :return: ``[S, B]``, float32.
    """
    repeated = labels.repeat(len(logits) // len(labels))
    losses = cross_entropy(
        logits.float(), repeated, reduction='none', label_smoothing=label_smoothing
    )
    return losses.view(-1, len(labels))
