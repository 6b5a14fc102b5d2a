"""Uncertainty weighting: each task has a learned variance."""

from __future__ import annotations

from collections.abc import Sequence
import math

from mtl_training.weighting.scaling import LossWeighting, Present, TaskLogarithms
from torch import Tensor


class UncertaintyWeighting(LossWeighting):
    """
    A learned variance per task, by which its loss is divided (Kendall et al., 2018).

    Minimises ``sum L / (2 sigma^2) + log sigma`` (eq. 7) with the parameters ``log sigma^2``, 0 at
    the start; at a constant loss ``sigma^2`` tends to it. The objective can be negative. The
    parameters are kept within 10 of 0, else a loss of zero would make the weight infinite.

    :param tasks: The names of all tasks.
    :param cls_factor: Classification tasks have ``L / sigma^2`` (eq. 10), twice the weight.
    :param normalise: Scale the weights to a sum of the number of tasks present; the variances
        are learned as published either way.
    """

    needs_positive_losses = True

    def __init__(
        self, tasks: Sequence[str], *, cls_factor: bool = False, normalise: bool = True
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        self._cls_factor = cls_factor
        self.log_variances = TaskLogarithms(self.tasks)

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of ``1 / (2 sigma^2)``, or of ``1 / sigma^2``."""
        doubled = [self._cls_factor and kind == 'classification' for kind in present.kinds]
        halves = [0.0 if twice else -math.log(2) for twice in doubled]
        return present.means.new_tensor(halves) - self.log_variances(present.tasks)

    def own_objective(self, present: Present) -> Tensor:
        """Return the published objective at the present losses."""
        penalty = self.log_variances(present.tasks) / 2
        return (self.log_factors(present).exp() * present.means + penalty).sum()
