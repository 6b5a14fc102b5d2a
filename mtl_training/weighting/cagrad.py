"""CAGrad: near the average gradient, the direction that serves the worst-served task best."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.weighting.gradient_weighting import check_range, GramianWeighting
import numpy as np
from scipy.optimize import minimize
import torch
from torch import Tensor


class CAGradWeighting(GramianWeighting):
    """
    The best direction for the worst-served task near the average gradient (Liu et al., 2021).

    With ``g_0`` the mean gradient and ``g_v = sum_i v_i g_i``, v minimises
    ``g_v . g_0 + c |g_0| |g_v|`` on the simplex; the gradient is ``g_0 + c |g_0| g_v / |g_v|``.
    Solved in closed form for two tasks, by SLSQP for more. Where the gradients cancel
    (``g_v = 0``) it is ``g_0``. Without ``normalise`` the scale is that of ``g_0``, as published.

    :param tasks: The names of all tasks.
    :param c: The distance from ``g_0`` allowed, over its norm; 0 is the plain average.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``c`` is negative or not finite.
    """

    def __init__(self, tasks: Sequence[str], *, c: float = 0.5, normalise: bool = True) -> None:
        super().__init__(tasks, normalise=normalise)
        self.c = check_range('c', c, 0)

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, all positive."""
        num_tasks = len(gram)
        mean = torch.full((num_tasks,), 1 / num_tasks, dtype=torch.float64)
        radius = self.c * math.sqrt(max(0.0, float(mean @ gram @ mean)))
        solver = _two_tasks if num_tasks == 2 else _more_tasks
        simplex = solver(gram, gram @ mean, radius)
        norm = math.sqrt(max(0.0, float(simplex @ gram @ simplex)))
        # Gradients in float32 can't tell a shorter sum from zero.
        return mean + radius / norm * simplex if norm > 1e-6 else mean


def _two_tasks(gram: Tensor, slopes: Tensor, radius: float) -> Tensor:
    """
    Minimise ``v . slopes + radius |g_v|`` for ``v = (x, 1 - x)``.

    With ``A = |g_1 - g_2|^2`` and ``y = (g_1 - g_2) . g_v``, ``A |g_v|^2 = y^2 + D``, D the
    determinant of the Gramian: the derivative ``slope + radius y / |g_v|`` is zero for a known y.
    """
    (g11, g12), (_, g22) = gram.tolist()
    slope = float(slopes[0] - slopes[1])
    square = g11 + g22 - 2 * g12
    room = radius**2 * square - slope**2
    if square <= 1e-14:
        x = 0.5
    elif room <= 0:  # monotone
        x = 0.0 if slope > 0 else 1.0
    else:
        determinant = max(0.0, g11 * g22 - g12**2)
        y = -slope * math.sqrt(determinant / room)
        x = min(1.0, max(0.0, (y - g12 + g22) / square))
    return torch.tensor([x, 1 - x], dtype=torch.float64)


def _more_tasks(gram: Tensor, slopes: Tensor, radius: float) -> Tensor:
    matrix, linear = gram.numpy(), slopes.numpy()

    # Smoothed at zero, where the norm has no derivative.
    def norm(v: np.ndarray) -> float:
        return math.sqrt(max(0.0, v @ matrix @ v) + 1e-16)

    def value(v: np.ndarray) -> float:
        return v @ linear + radius * norm(v)

    def derivative(v: np.ndarray) -> np.ndarray:
        return linear + radius / norm(v) * (matrix @ v)

    num_tasks = len(matrix)
    found = minimize(
        value,
        np.full(num_tasks, 1 / num_tasks),
        jac=derivative,
        method='SLSQP',
        bounds=[(0, 1)] * num_tasks,
        constraints={'type': 'eq', 'fun': lambda v: v.sum() - 1, 'jac': np.ones_like},
        options={'ftol': 1e-14, 'maxiter': 200},
    )
    simplex = np.clip(found.x, 0, None)
    return torch.from_numpy(simplex / simplex.sum())
