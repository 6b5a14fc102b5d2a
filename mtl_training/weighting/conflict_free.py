"""ConFIG: a gradient that has the same angle to those of all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.gradient_weighting import GramianWeighting
from mtl_training.weighting.gramian import correlation
from mtl_training.weighting.imtl_g import equal_projections
import torch
from torch import Tensor


class ConFIGWeighting(GramianWeighting):
    """
    A gradient with the same angle to all tasks' (Liu et al., ConFIG, 2024).

    Its length is the sum of the projections of all gradients onto its direction, as published:
    a scale of its own, which is that of the plain sum where all agree. So there is no
    ``normalise``. Where the angles can't be equal and acute, it is the plain sum.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks, normalise=False)

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights; their scale follows from the length of the gradient."""
        norms, cosines = correlation(gram)
        direction = equal_projections(cosines) / norms
        projections = gram @ direction
        square = direction @ projections
        if square <= 1e-6 or (projections <= 0).any():
            return torch.ones_like(norms)
        return direction * projections.sum() / square
