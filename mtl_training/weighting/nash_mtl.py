"""Nash-MTL: the bargaining solution of the tasks."""

from __future__ import annotations

from mtl_training.weighting.fair import fair_weights, LEAST
from mtl_training.weighting.gradient_weighting import GramianWeighting
import torch
from torch import Tensor


class NashMTLWeighting(GramianWeighting):
    """
    The Nash bargaining solution of the tasks (Navon et al., 2022).

    Its weights solve ``G w = 1 / w``, eq. 1: in closed form for two tasks, by Newton steps to
    full precision for more. Without ``normalise`` the combined gradient always has the norm
    sqrt(K); the clipping that the authors add is ``optimiser.clip_norm`` here.
    """

    degree = -0.5

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, all positive."""
        if len(gram) > 2:
            return fair_weights(gram, 1.0)
        norms = gram.diagonal().sqrt()
        cosine = gram[0, 1] / norms.prod()
        return 1 / (norms * torch.sqrt((1 + cosine).clamp_min(LEAST)))
