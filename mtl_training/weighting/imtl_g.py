"""IMTL-G: a gradient that projects equally onto those of all tasks."""

from __future__ import annotations

from mtl_training.weighting.gradient_weighting import GramianWeighting
from mtl_training.weighting.gramian import correlation
import torch
from torch import Tensor

# Below, eigenvalues of cosines are rounding errors of gradients in float32.
TOLERANCE = 1e-6


class IMTLGWeighting(GramianWeighting):
    """
    A gradient with equal projections onto all tasks' (Liu et al., IMTL-G, 2021).

    With C the cosines, ``w_i = (C^+ 1)_i / |g_i|``; for two tasks ``1 / |g_i|``, however opposed
    they are. With more, weights can be negative. Without ``normalise`` they sum to 1, as
    published, unless their sum is not clearly positive: then their absolute values do, since a
    division by a negative sum would make all tasks worse.
    """

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, whose sum or sum of absolute values is 1."""
        norms, cosines = correlation(gram)
        weights = equal_projections(cosines) / norms
        total, size = weights.sum(), weights.abs().sum()
        return weights / (total if total > 0.1 * size else size)


def equal_projections(cosines: Tensor) -> Tensor:
    """
    Return ``C^+ 1``: unit gradients so combined have the same projection onto all of them.

    Where no combination has, all count alike.
    """
    ones = torch.ones(len(cosines), dtype=cosines.dtype)
    if len(cosines) == 2:
        return ones
    solution = torch.linalg.pinv(cosines, hermitian=True, rtol=TOLERANCE) @ ones
    return solution if solution.abs().max() > TOLERANCE else ones
