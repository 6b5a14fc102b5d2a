"""FairGrad: alpha-fair progress of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.fair import fair_weights
from mtl_training.weighting.gradient_weighting import check_range, GramianWeighting
from torch import Tensor


class FairGradWeighting(GramianWeighting):
    """
    Alpha-fair progress of the tasks (Ban & Ji, FairGrad, 2024).

    Its weights solve ``G w = w^(-1/alpha)``, eq. 4, by Newton steps to full precision.

    :param tasks: The names of all tasks.
    :param alpha: How fair: 1 is Nash-MTL; the larger, the more the slowest task counts.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``alpha`` is not in [0.1, 100).
    """

    def __init__(
        self, tasks: Sequence[str], *, alpha: float = 2.0, normalise: bool = True
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        self.alpha = check_range('alpha', alpha, 0.1, 100)
        self.degree = -self.alpha / (1 + self.alpha)

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, all positive."""
        return fair_weights(gram, 1 / self.alpha)
