"""Impartial multi-task learning, the half of it that balances losses."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.scaling import LossWeighting, Present, TaskLogarithms
from torch import Tensor


class IMTLLWeighting(LossWeighting):
    """
    Learned scales that make all weighted losses equal to 1 (IMTL-L, Liu et al., 2021).

    Minimises ``sum exp(s) L - s``, ``s`` 0 at the start; at a constant loss ``exp(s)`` tends to
    ``1 / L``. ``s`` is kept within 10 of 0, since a loss of zero draws it to infinity.

    :param tasks: The names of all tasks.
    :param normalise: Scale the weights to a sum of the number of tasks present; the scales are
        learned as published either way.
    """

    needs_positive_losses = True

    def __init__(self, tasks: Sequence[str], *, normalise: bool = True) -> None:
        super().__init__(tasks, normalise=normalise)
        self.log_scales = TaskLogarithms(self.tasks)

    def log_factors(self, present: Present) -> Tensor:
        """Return ``s``."""
        return self.log_scales(present.tasks)

    def own_objective(self, present: Present) -> Tensor:
        """Return the published objective at the present losses."""
        log_scales = self.log_factors(present)
        return (log_scales.exp() * present.means - log_scales).sum()
