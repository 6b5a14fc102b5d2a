"""Automatic weighting: learned variances with an objective that is never negative."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.weighting.scaling import LossWeighting, Present, TaskLogarithms
from torch import Tensor
from torch.nn.functional import softplus


class AutomaticWeighting(LossWeighting):
    """
    Learned variances whose objective stays positive (Liebel & Koerner, 2018).

    Minimises ``sum L / (2 sigma^2) + log(1 + sigma^2)`` (eq. 3), ``sigma`` 1 at the start; at a
    constant loss ``sigma^2`` tends to ``(L + sqrt(L^2 + 8 L)) / 4``. Departs from the paper in
    what is learned: ``log sigma^2`` instead of ``sigma``, which has the same optimum and can't
    pass 0, kept within 10 of 0, since a loss of zero draws ``sigma`` to 0.

    :param tasks: The names of all tasks.
    :param normalise: Scale the weights to a sum of the number of tasks present; the variances
        are learned as published either way.
    """

    needs_positive_losses = True

    def __init__(self, tasks: Sequence[str], *, normalise: bool = True) -> None:
        super().__init__(tasks, normalise=normalise)
        self.log_variances = TaskLogarithms(self.tasks)

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of ``1 / (2 sigma^2)``."""
        return -self.log_variances(present.tasks) - math.log(2)

    def own_objective(self, present: Present) -> Tensor:
        """Return the published objective at the present losses."""
        penalty = softplus(self.log_variances(present.tasks))  # log(1 + sigma^2)
        return (self.log_factors(present).exp() * present.means + penalty).sum()
