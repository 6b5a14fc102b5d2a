"""The weights ``w > 0`` with ``G w = w^-p``: what Nash-MTL (p = 1) and FairGrad solve."""

from __future__ import annotations

from mtl_training.weighting.gramian import correlation
import torch
from torch import Tensor

# The least eigenvalue of the cosines that gradients in float32 can tell from zero.
LEAST = 1e-7
_MAX_STEPS = 100


def fair_weights(gram: Tensor, power: float) -> Tensor:
    """
    Solve ``G w = w^-p`` for positive w by damped Newton steps.

    It is the stationary point of the strictly convex ``w' G w / 2 - sum phi(w)`` with
    ``phi' = w^-p``. With d the norms, C the cosines and ``u = d w``, it reads
    ``C u = d^(p-1) u^-p``, which is well scaled however different the norms are. Where gradients
    cancel there is no solution: the eigenvalues of C are lifted to :data:`LEAST` then.

    :param gram: float64 ``[K, K]`` with a positive diagonal.
    :param power: p > 0.
    """
    norms, cosines = correlation(gram)
    lift = LEAST - float(torch.linalg.eigvalsh(cosines)[0])
    if lift > 0:
        cosines = cosines + lift * torch.eye(len(cosines), dtype=cosines.dtype)
    factor = norms ** (power - 1)

    def residual(u: Tensor) -> Tensor:
        return cosines @ u - factor * u**-power

    u = factor ** (1 / (1 + power))  # the solution for orthogonal gradients
    for _ in range(_MAX_STEPS):
        slope = residual(u)
        curvature = cosines + torch.diag(power * factor * u ** (-power - 1))
        step = torch.linalg.solve(curvature, slope)
        decrement = float(slope @ step)
        if decrement <= 1e-24 * float(u @ cosines @ u):
            break
        u = _line_search(u, step, residual)
    return u / norms


def _line_search(u: Tensor, step: Tensor, residual) -> Tensor:  # type: ignore[no-untyped-def]
    """Go along a step until the objective would rise: where its derivative changes sign."""
    # Never further than 95 % of the way to the border, where w is zero.
    length = min(1.0, 0.95 / max(1e-300, float((step / u).max())))
    start = float(step @ residual(u))
    for _ in range(60):
        ahead = u - length * step
        if float(step @ residual(ahead)) >= -0.9 * start:
            return ahead
        length /= 2
    return u
