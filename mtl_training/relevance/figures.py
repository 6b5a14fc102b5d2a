"""How well scores separate, and how far they are to be believed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 15


def auroc(scores: Tensor, is_positive: Tensor) -> float:
    """
    Return the probability that a positive scores higher than a negative, ties counting half.

    This is the area under the ROC curve, computed from ranks (Mann and Whitney, 1947).

    :param scores: ``[N]``.
    :param is_positive: Bool ``[N]``.
    :raises ValueError: If there are only positives or only negatives.
    """
    positive = int(is_positive.sum())
    negative = len(scores) - positive
    if not positive or not negative:
        raise ValueError(
            f'AUROC needs positives and negatives, got {positive} and {negative} of them.'
        )
    _, group, counts = scores.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    rank = (last - (counts - 1) / 2)[group]  # the mean rank of equal scores
    excess = float(rank[is_positive].sum()) - positive * (positive + 1) / 2
    return excess / (positive * negative)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidences in bins of equal width, against how often they were right."""

    counts: Tensor  # [B], answers in each bin
    confidence: Tensor  # [B], their mean confidence; 0 in an empty bin
    accuracy: Tensor  # [B], the share of right ones; 0 in an empty bin

    @classmethod
    def of(
        cls, probabilities: Tensor, answers: Tensor, truth: Tensor, num_bins: int = NUM_BINS
    ) -> Reliability:
        """
        Sort answers into bins.

        :param probabilities: ``[N, C]``.
        :param answers: What was said, ``[N]``, each with its own probability as the confidence.
        :param truth: ``[N]``.
        """
        confidence = probabilities.double().gather(1, answers.unsqueeze(1))[:, 0]
        # Bins are open below: (0, 1/B], (1/B, 2/B], ...
        place = ((confidence * num_bins).ceil().long() - 1).clamp(0, num_bins - 1)
        counts = torch.bincount(place, minlength=num_bins)

        def mean(values: Tensor) -> Tensor:
            return torch.bincount(place, values, num_bins) / counts.clamp_min(1)

        return cls(counts, mean(confidence), mean((answers == truth).double()))

    def error(self) -> float:
        """
        Return the expected calibration error.

        It is the mean distance between confidence and accuracy, bins weighted by their answers
        (Naeini et al., 2015; Guo et al., 2017); 0 without answers.
        """
        distance = (self.confidence - self.accuracy).abs()
        return float((self.counts * distance).sum() / self.counts.sum().clamp_min(1))
