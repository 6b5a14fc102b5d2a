"""Cross-entropy of what people do."""

from __future__ import annotations

from mtl_training.criteria.contract import mean_of_people, SmoothedCriterion
from mtl_training.data.frame_sample import FrameBatch
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class ActivityCriterion(SmoothedCriterion):
    """
    Cross-entropy of the people whose activity is known; the outputs are theirs alone.

    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    """

    def forward(self, outputs: Tensor, batch: FrameBatch) -> Tensor:
        """Return the mean loss of the people of every image, ``[1, B]``."""
        counts = has_activity(batch)
        losses = cross_entropy(
            outputs.float(),
            batch.activities[counts],
            reduction='none',
            label_smoothing=self.label_smoothing,
        )
        per_person = losses.new_zeros(counts.shape).masked_scatter(counts, losses)
        return mean_of_people(per_person, counts).unsqueeze(0)

    @torch.no_grad()
    def fit(self, outputs: Tensor, batch: FrameBatch) -> Tensor:
        """Return the accuracy."""
        hits = outputs.argmax(1) == batch.activities[has_activity(batch)]
        return hits.sum() / max(1, len(hits))


def has_activity(batch: FrameBatch) -> Tensor:
    """Return whose activity can be learnt, bool ``[B, P]``."""
    is_known = (batch.keypoints[:, :, -1, :, 2] > 0).any(-1)
    return batch.is_person & (batch.activities >= 0) & is_known
