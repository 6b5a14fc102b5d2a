"""Geometric loss strategy: the geometric mean of the losses."""

from __future__ import annotations

from mtl_training.weighting.scaling import LOSS_FLOOR, LossWeighting, Present
from torch import Tensor


class GLSWeighting(LossWeighting):
    """
    Minimise the geometric mean of the losses, whatever their scales (Chennupati et al., 2019).

    The factor of a task is the derivative of ``(prod L)^(1/K)``, ``GLS / (K L)``, for the ``K``
    tasks present. Losses count as at least 1e-8, so that a loss of zero has a finite one.

    :param tasks: The names of all tasks.
    :param normalise: Scale the weights to a sum of the number of tasks present: harmonic weights,
        in proportion to ``1 / L``.
    """

    needs_positive_losses = True

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of ``GLS / (K L)``."""
        logs = present.means.clamp(min=LOSS_FLOOR).log()
        return logs.mean() - present.means.new_tensor(len(logs)).log() - logs
