"""DB-MTL: losses on a log scale, gradients of one norm."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses
from mtl_training.weighting.gradient_weighting import (
    check_range,
    normalised,
    put,
    weighted_sum,
)
from mtl_training.weighting.gramian import gramian
from mtl_training.weighting.scaling import LOSS_FLOOR, mean_losses
from mtl_training.weighting.tracking import grown, TrackingWeighting
import torch
from torch import Tensor


class DBMTLWeighting(TrackingWeighting):
    """
    Gradients of log-losses, averaged over steps, at one norm (Lin et al., DB-MTL, 2023).

    The running mean ``m_i`` of ``g_i / loss_i`` is scaled to the largest norm among the tasks; the
    results are summed, algorithm 1. In step k of a task the past counts ``beta / k ** decay``; the
    running mean starts at the first gradient, not at zero. A task with a gradient of zero, or a
    loss of at most 1e-8, takes no part, lest it gets nearly all the weight: it has weight 1.
    What only one task reaches keeps the gradient of the loss itself. The weight of a task is what
    its newest gradient is multiplied with in the sum, were the running mean that gradient.

    :param tasks: The names of all tasks.
    :param beta: What the past counts in the running mean; 0 is the newest gradient alone.
    :param decay: How fast the past comes to count less; with 0, a rule with momentum may swing.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``beta`` is not in [0, 1) or ``decay`` negative.
    """

    growing_buffers = ('means',)
    needs_positive_losses = True

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        beta: float = 0.9,
        decay: float = 0.5,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks)
        self.beta, self.decay = check_range('beta', beta, 0, 1), check_range('decay', decay, 0)
        self.normalise = normalise
        self.means: Tensor  # [T, P]
        self.register_buffer('means', torch.empty(0))
        self.steps: Tensor  # how often the task was present
        self.register_buffer('steps', torch.zeros(len(self.tasks), dtype=torch.int64))

    def moves(self, rows: Tensor, losses: Losses) -> Tensor:
        """Return which tasks have a gradient, and a loss whose logarithm has a use."""
        return super().moves(rows, losses) & (mean_losses(losses) > LOSS_FLOOR).cpu()

    def track(self, rows: Tensor, index: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Take in the gradients, then return the sum of the balanced means and the weights."""
        inverse = 1 / mean_losses(losses).detach().double().cpu()
        self.means = grown(self.means, len(self.tasks), rows)
        steps = self.steps.cpu()[index] + 1
        put(self.steps, index, steps)
        pasts = torch.where(steps > 1, self.beta / steps**self.decay, 0).tolist()
        for place, row, past, factor in zip(index.tolist(), rows, pasts, inverse.tolist()):
            self.means[place].mul_(past).add_(row, alpha=(1 - past) * factor)
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
