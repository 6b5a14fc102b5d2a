"""MoCo: the direction of MGDA from gradients tracked over steps."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses, StepContext
from mtl_training.weighting.gradient_weighting import (
    check_range,
    GradientWeighting,
    grown,
    put,
    weighted_sum,
)
from mtl_training.weighting.gramian import gramian
import torch
from torch import Tensor


class MoCoWeighting(GradientWeighting):
    """
    MGDA's direction from tracked gradients, without its bias (Fernando et al., MoCo, 2023).

    ``y_i += beta (g_i - y_i)``, eq. 7; ``lambda = simplex(lambda - gamma (Y Y' + rho) lambda)``,
    eq. 10; the gradient is ``sum_i lambda_i y_i``. Y Y' is taken at a mean diagonal of 1, so that
    gamma means the same however large gradients are; y starts at the first gradient.

    :param tasks: The names of all tasks.
    :param beta: The step of the tracking.
    :param gamma: The step of lambda.
    :param rho: The regularisation of lambda towards equal weights.
    :param normalise: Scale the weights so that they sum to the number of tasks present, not to 1.
    :raises ValueError: If ``beta`` is not in (0, 1], ``gamma`` not positive or ``rho`` negative.
    """

    growing_buffers = ('tracked',)

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        beta: float = 0.5,
        gamma: float = 0.1,
        rho: float = 0.0,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks)
        self.beta = 1.0 if beta == 1 else check_range('beta', beta, 0, 1, open_low=True)
        self.gamma = check_range('gamma', gamma, 0, open_low=True)
        self.rho, self.normalise = check_range('rho', rho, 0), normalise
        num_tasks = len(self.tasks)
        self.tracked: Tensor  # [T, P]
        self.register_buffer('tracked', torch.empty(0))
        self.started: Tensor
        self.register_buffer('started', torch.zeros(num_tasks, dtype=torch.bool))
        self.simplex: Tensor  # lambda
        self.register_buffer('simplex', torch.full((num_tasks,), 1 / num_tasks))

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Take in the gradients, then return the sum of the tracked ones and the weights."""
        self.tracked = grown(self.tracked, len(self.tasks), rows)
        started = self.started.tolist()
        for place, row in zip(index.tolist(), rows):
            self.tracked[place].lerp_(row, self.beta if started[place] else 1.0)
        put(self.started, index, torch.ones(len(index), dtype=torch.bool))
        everyone = len(index) == len(self.tasks)
        tracked = self.tracked if everyone else self.tracked[index.to(rows.device)]
        weights = self._descend(gramian(tracked), index)
        if self.normalise:
            weights = weights * len(weights)
        return weighted_sum(tracked, weights), weights

    def _descend(self, gram: Tensor, index: Tensor) -> Tensor:
        """Do a step of lambda among the tasks that are present; what they share stays theirs."""
        share = self.simplex.double().cpu()[index]
        total = float(share.sum())
        share = share / total if total > 0 else torch.full_like(share, 1 / len(share))
        size = float(gram.diagonal().mean())
        if size > 0:
            slope = gram @ share / size + self.rho * share
            share = project_onto_simplex(share - self.gamma * slope)
        put(self.simplex, index, share * total)
        return share


def project_onto_simplex(values: Tensor) -> Tensor:
    """Return the nearest point of the probability simplex (Duchi et al., 2008)."""
    ordered = values.sort(descending=True).values
    counts = torch.arange(1, len(values) + 1, dtype=values.dtype)
    excess = (ordered.cumsum(0) - 1) / counts
    last = int((ordered > excess).nonzero().max())
    return (values - excess[last]).clamp_min(0)
