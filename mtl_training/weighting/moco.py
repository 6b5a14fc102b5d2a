"""MoCo: the direction of MGDA from gradients tracked over steps."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses
from mtl_training.weighting.gradient_weighting import (
    check_range,
    put,
    weighted_sum,
)
from mtl_training.weighting.gramian import gramian
from mtl_training.weighting.tracking import grown, TrackingWeighting
import torch
from torch import Tensor


class MoCoWeighting(TrackingWeighting):
    """
    MGDA's direction from gradients tracked over steps (Fernando et al., MoCo, 2023).

    ``y_i += beta (g_i - y_i)``, eq. 7; ``lambda = simplex(lambda - gamma (Y Y' + rho) lambda)``,
    eq. 10; the gradient is ``sum_i lambda_i y_i``. Y Y' is taken at a mean diagonal of 1, so that
    gamma means the same however large gradients are, where the authors' code scales each gradient
    to the norm of its loss; y starts at the first gradient.
    Step k is ``beta / k ** beta_decay`` or ``gamma / k ** gamma_decay``. Only where both decay,
    and the learning rate with them, does MGDA's bias vanish, as in the paper; in the authors'
    code both decays are 0.5. Here the tracking keeps its step by default: with a constant
    learning rate one that slows down falls behind, and on a convex problem the losses rose again.

    :param tasks: The names of all tasks.
    :param beta: The first step of the tracking, counted for each task.
    :param gamma: The first step of lambda.
    :param beta_decay: How fast the step of the tracking gets smaller; 0 for never.
    :param gamma_decay: How fast that of lambda does.
    :param rho: The regularisation of lambda towards equal weights.
    :param normalise: Scale the weights so that they sum to the number of tasks present, not to 1.
    :raises ValueError: If ``beta`` is not in (0, 1], ``gamma`` not positive, or ``rho`` or a
        decay negative.
    """

    growing_buffers = ('tracked',)

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        beta: float = 0.5,
        gamma: float = 0.1,
        beta_decay: float = 0.0,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks)
        self.beta = 1.0 if beta == 1 else check_range('beta', beta, 0, 1, open_low=True)
        self.gamma = check_range('gamma', gamma, 0, open_low=True)
        self.beta_decay = check_range('beta_decay', beta_decay, 0)
        self.gamma_decay = check_range('gamma_decay', gamma_decay, 0)
        self.rho, self.normalise = check_range('rho', rho, 0), normalise
        num_tasks = len(self.tasks)
        self.tracked: Tensor  # [T, P]
        self.register_buffer('tracked', torch.empty(0))
        self.steps: Tensor  # how often the task was there
        self.register_buffer('steps', torch.zeros(num_tasks, dtype=torch.int64))
        self.descents: Tensor  # how often lambda has moved
        self.register_buffer('descents', torch.zeros((), dtype=torch.int64))
        self.simplex: Tensor  # lambda, up to a factor
        self.register_buffer('simplex', torch.full((num_tasks,), 1 / num_tasks))

    def track(self, rows: Tensor, index: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Take in the gradients, then return the sum of the tracked ones and the weights."""
        self.tracked = grown(self.tracked, len(self.tasks), rows)
        steps = self.steps.cpu()[index]
        put(self.steps, index, steps + 1)
        # The first of all is that to the first gradient.
        rates = torch.where(steps > 0, self.beta / steps.clamp_min(1) ** self.beta_decay, 1.0)
        for place, row, rate in zip(index.tolist(), rows, rates.tolist()):
            self.tracked[place].lerp_(row, rate)
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
        if total == 0:  # all of lambda is with the absent
            share, total = torch.ones_like(share), len(share) / len(self.tasks)
        share = share / share.sum()
        size = float(gram.diagonal().mean())
        if size > 0:
            slope = gram @ share / size + self.rho * share
            self.descents += 1
            rate = self.gamma / int(self.descents) ** self.gamma_decay
            share = project_onto_simplex(share - rate * slope)
        put(self.simplex, index, share * total)
        return share


def project_onto_simplex(values: Tensor) -> Tensor:
    """Return the nearest point of the probability simplex (Duchi et al., 2008)."""
    ordered = values.sort(descending=True).values
    counts = torch.arange(1, len(values) + 1, dtype=values.dtype)
    excess = (ordered.cumsum(0) - 1) / counts
    last = int((ordered > excess).nonzero().max())
    return (values - excess[last]).clamp_min(0)
