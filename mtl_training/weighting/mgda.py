"""MGDA: the shortest convex combination of the gradients."""

from __future__ import annotations

from mtl_training.weighting.gradient_weighting import GramianWeighting
from mtl_training.weighting.gramian import square_root
import numpy as np
from scipy.optimize import nnls
import torch
from torch import Tensor


class MGDAWeighting(GramianWeighting):
    """
    The shortest convex combination of the gradients (Désidéri, 2012; Sener & Koltun, 2018).

    Its weights minimise ``|sum_i w_i g_i|`` on the simplex: in closed form for two tasks, and
    exactly, not by Frank-Wolfe steps, for more. Without ``normalise`` they sum to 1.
    """

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, on the simplex."""
        if len(gram) > 2:
            return _on_the_simplex(gram)
        (g11, g12), (_, g22) = gram.tolist()
        distance = g11 + g22 - 2 * g12
        first = min(1.0, max(0.0, (g22 - g12) / distance)) if distance > 0 else 0.5
        return torch.tensor([first, 1 - first], dtype=torch.float64)


def _on_the_simplex(gram: Tensor) -> Tensor:
    """
    Minimise ``w' G w`` on the simplex by non-negative least squares.

    Along ``x = t w``, the least ``x' G x + (sum x - 1)^2`` is ``q / (1 + q)``, with
    ``q = w' G w``: the direction of the minimum has the least q (Lawson & Hanson, 1974, ch. 23).
    """
    num_tasks = len(gram)
    matrix = np.vstack([square_root(gram).numpy(), np.ones(num_tasks)])
    solution, _ = nnls(matrix, np.eye(num_tasks + 1)[-1], maxiter=100 * num_tasks)
    return torch.from_numpy(solution / solution.sum())
