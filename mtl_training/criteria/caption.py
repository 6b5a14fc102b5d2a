"""How near an embedded clip is to its sentence."""

from __future__ import annotations

from mtl_training.criteria.contract import Criterion
from mtl_training.data.sample import ClipBatch
import torch
from torch import Tensor


class CaptionCriterion(Criterion):
    """
    Negative cosine between a clip and a sentence that describes it, from -1 to 1.

    Kim et al., Disjoint Multi-task Learning between Heterogeneous Human-centric Tasks (2018),
    equation 2. Clips are labelled with rows of ``targets``, the embedded sentences.
    """

    figure = 'cosine'
    may_be_negative = True

    def forward(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the negative cosine of every clip in every sample of the structure."""
        return caption_losses(outputs, self._rows(batch.labels))

    @torch.no_grad()
    def fit(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Return the mean cosine, 0 where it is negative."""
        return (-self(outputs, batch).mean()).clamp_min(0)


def caption_losses(vectors: Tensor, targets: Tensor) -> Tensor:
    """
    Return the negative cosine of every clip in every sample of the network's structure.

    :param vectors: Unit vectors, ``[S * B, E]``.
    :param targets: Unit vectors, ``[B, E]``.
    :return: ``[S, B]``, float32.
    """
    samples = vectors.float().view(-1, *targets.shape)
    return -(samples * targets.float()).sum(2)
