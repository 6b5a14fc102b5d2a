"""Average weighting: every task counts the same."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_training.weighting.contract import TaskLoss, Weighting
import torch
from torch import Tensor


class AverageWeighting(Weighting):
    """Sum the mean losses of the tasks: each has weight 1."""

    def combine(self, losses: Mapping[str, TaskLoss]) -> Tensor:
        """Return the sum of the task losses; the weights sum to the number of tasks."""
        return torch.stack([loss.mean() for loss in losses.values()]).sum()

    def weights(self) -> dict[str, float]:
        """Return 1 for each task."""
        return dict.fromkeys(self.tasks, 1.0)
