"""ExcessMTL: tasks far from their optimum count more."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses
from mtl_training.weighting.gradient_weighting import check_range, put, weighted_sum
from mtl_training.weighting.tracking import grown, TrackingWeighting
import torch
from torch import Tensor


class ExcessMTLWeighting(TrackingWeighting):
    """
    Weights that rise with how far a task is from its optimum (He et al., ExcessMTL, 2024).

    The excess risk of a task is estimated as ``sum g^2 / sqrt(sum over steps of g^2)``, eqs. 6 and
    7, and divided by its mean over its first steps; the log-weights grow by ``step_size`` times
    it, eq. 9. The squares have no absolute constant added, so that tiny gradients work alike, and
    the first step is its own baseline instead of an unscaled one.

    :param tasks: The names of all tasks.
    :param step_size: Of the log-weights.
    :param warmup: Steps of a task whose mean is its baseline, while its weight rests; the paper
        advises three epochs.
    :param normalise: Scale the weights so that they sum to the number of tasks present, not to 1.
    :raises ValueError: If ``step_size`` is not positive or ``warmup`` negative.
    """

    growing_buffers = ('root_sums',)

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        step_size: float = 0.01,
        warmup: int = 0,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks)
        self.step_size = check_range('step_size', step_size, 0, open_low=True)
        self.warmup = int(check_range('warmup', warmup, 0))
        self.normalise = normalise
        self.root_sums: Tensor  # [T, P], the roots of the sums of squares
        self.register_buffer('root_sums', torch.empty(0))
        self.baselines: Tensor  # means over the first steps
        self.steps: Tensor  # in which the task had a gradient
        self.log_weights: Tensor
        for name in ('baselines', 'steps', 'log_weights'):
            self.register_buffer(name, torch.zeros(len(self.tasks)))

    def track(self, rows: Tensor, index: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Take in the gradients, then return their weighted sum and the weights."""
        self._learn(self._excess(rows, index), index)
        weights = torch.softmax(self.log_weights.double().cpu()[index], 0)
        if self.normalise:
            weights = weights * len(weights)
        return weighted_sum(rows, weights), weights

    def _excess(self, rows: Tensor, index: Tensor) -> Tensor:
        self.root_sums = grown(self.root_sums, len(self.tasks), rows)
        excess = []
        for place, row in zip(index.tolist(), rows):
            root = torch.hypot(self.root_sums[place], row, out=self.root_sums[place])
            # Never above |g|: zero where nothing ever was, and no square that underflows.
            excess.append((row / root).nan_to_num_(0).mul_(row).sum())
        return torch.stack(excess).double().cpu()

    def _learn(self, excess: Tensor, index: Tensor) -> None:
        moves = excess > 0
        index, excess = index[moves], excess[moves]
        if not len(index):
            return
        steps = self.steps.double().cpu()[index] + 1
        baselines, log_weights = (
            self.baselines.double().cpu()[index],
            self.log_weights.double().cpu(),
        )
        first = steps <= max(1, self.warmup)
        baselines += torch.where(first, (excess - baselines) / steps, 0)
        rests = steps <= self.warmup
        log_weights[index] += torch.where(rests, 0, self.step_size * excess / baselines)
        put(self.steps, index, steps)
        put(self.baselines, index, baselines)
        self.log_weights.copy_(torch.log_softmax(log_weights, 0))
