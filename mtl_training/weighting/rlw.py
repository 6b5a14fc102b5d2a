"""Random loss weighting: a baseline that any method should beat."""

from __future__ import annotations

from mtl_training.weighting.scaling import LossWeighting, Present
import torch
from torch import Tensor


class RLWWeighting(LossWeighting):
    """
    New random weights in every step, a baseline for all others (RLW, Lin et al., 2022).

    A softmax of standard normals over the tasks present. They come from the generator that is
    the same in all processes, and so are the weights.

    :param tasks: The names of all tasks.
    :param normalise: Scale the weights to a sum of the number of tasks present instead of 1.
    """

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of the softmax of new normals."""
        # One for each task, present or not: what is drawn later must not depend on it.
        normals = torch.randn(len(self.tasks))[present.rows]
        return normals.to(present.means.device).log_softmax(0)
