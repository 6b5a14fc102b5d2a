"""Cross-entropy of clips."""

from __future__ import annotations

from mtl_training.criteria.contract import SmoothedCriterion
from mtl_training.data.sample import ClipBatch
from torch import Tensor
from torch.nn.functional import cross_entropy


class ClassificationCriterion(SmoothedCriterion):
    """
    Cross-entropy; with the targets of a data set of several labels, that with their distribution.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    """

    def forward(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the cross-entropy of every clip in every sample of the network's structure."""
        labels = batch.labels if self.targets is None else self._rows(batch.labels)
        return sample_losses(outputs, labels, label_smoothing=self.label_smoothing)

    def fit(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the accuracy; of clips with several labels, how often the first guess is one."""
        best = outputs.argmax(1).view(-1, len(batch.labels))
        if self.targets is None:
            return (best == batch.labels).float().mean()
        return (self._rows(batch.labels).gather(1, best.t()) > 0).float().mean()


def sample_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the cross-entropy of every clip in every sample of the network's structure.

    :param logits: ``[S * B, C]``.
    :param labels: ``[B]``, or distributions over the classes, ``[B, C]``.
    :return: ``[S, B]``, float32.
    """
    repeated = labels.repeat(len(logits) // len(labels), *[1] * (labels.ndim - 1))
    losses = cross_entropy(
        logits.float(), repeated, reduction='none', label_smoothing=label_smoothing
    )
    return losses.view(-1, len(labels))
