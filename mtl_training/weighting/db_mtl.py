"""DB-MTL: losses on a log scale, gradients of one norm."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses, StepContext
from mtl_training.weighting.gradient_weighting import (
    check_range,
    GradientWeighting,
    grown,
    normalised,
    put,
    weighted_sum,
)
from mtl_training.weighting.gramian import gramian
import torch
from torch import Tensor

# A loss of less counts as this: the logarithm of zero has no gradient.
_EPSILON = 1e-8


class DBMTLWeighting(GradientWeighting):
    """
    Gradients of log-losses, averaged over steps, at one norm (Lin et al., DB-MTL, 2023).

    The running mean ``m_i`` of ``g_i / loss_i`` is scaled to the largest norm among the tasks; the
    results are summed, algorithm 1. The running mean starts at the first gradient, not at zero.
    What only one task reaches keeps the gradient of the loss itself. The weight of a task is what
    its newest gradient is multiplied with in the sum, were the running mean that gradient.

    :param tasks: The names of all tasks.
    :param beta: What the past counts in the running mean; 0 is the newest gradient alone.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``beta`` is not in [0, 1).
    """

    growing_buffers = ('means',)

    def __init__(self, tasks: Sequence[str], *, beta: float = 0.9, normalise: bool = True) -> None:
        super().__init__(tasks)
        self.beta, self.normalise = check_range('beta', beta, 0, 1), normalise
        self.means: Tensor  # [T, P]
        self.register_buffer('means', torch.empty(0))
        self.started: Tensor
        self.register_buffer('started', torch.zeros(len(self.tasks), dtype=torch.bool))

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Take in the gradients, then return the sum of the balanced means and the weights."""
        values = torch.stack([loss.mean().detach() for loss in losses.values()])
        inverse = 1 / values.double().cpu().clamp_min(_EPSILON)
        self.means = grown(self.means, len(self.tasks), rows)
        started = self.started.tolist()
        for place, row, factor in zip(index.tolist(), rows, inverse.tolist()):
            past = self.beta if started[place] else 0.0
            self.means[place].mul_(past).add_(row, alpha=(1 - past) * factor)
        put(self.started, index, torch.ones(len(index), dtype=torch.bool))
        means = self.means if len(index) == len(self.tasks) else self.means[index.to(rows.device)]
        scales = self._scales(means)
        weights = scales * inverse
        if self.normalise:
            factor = float(normalised(weights).sum() / weights.sum())
            scales, weights = scales * factor, weights * factor
        return weighted_sum(means, scales), weights

    @staticmethod
    def _scales(means: Tensor) -> Tensor:
        norms = gramian(means).diagonal().sqrt()
        return torch.where(norms > 0, norms.max() / norms, 1)
