"""Average weighting: every task counts the same."""

from __future__ import annotations

from mtl_training.weighting.contract import Losses, Weighting
import torch
from torch import Tensor


class AverageWeighting(Weighting):
    """Sum the mean losses of the tasks: each has weight 1 (Caruana, 1997)."""

    def combine(self, losses: Losses) -> Tensor:
        """Return the sum of the task losses; the weights sum to the number of tasks."""
        return torch.stack([loss.mean() for loss in losses.values()]).sum()
