"""GradNorm: weights that make the tasks' gradients equally long, but for how far each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mtl_training.weighting.contract import Losses, StepContext, TaskLoss, Weighting
from mtl_training.weighting.gradients import set_gradient, task_gradients
from mtl_training.weighting.scaling import check_positive, LOSS_FLOOR, mean_losses
from mtl_training.weighting.vector_adam import VectorAdam
import torch
from torch import Tensor


class GradNormWeighting(Weighting):
    """
    Weights that equalise the tasks' gradient norms and training rates (Chen et al., 2018).

    The weights ``w`` minimise ``sum |G - mean(G) r^alpha|`` (eq. 2), where ``G`` is the norm of
    the gradient of ``w L`` and ``r`` a task's ``L / L(0)`` over the mean of all; they are scaled
    to a sum of the number of tasks after each update. The losses of private parameters have the
    same weights. Departs from the paper in that ``G`` is of all shared parameters instead of the
    last shared layer, which costs nothing here, and in a floor under ``w``, which could pass 0.
    A task with a loss of at most 1e-8 has weight 1, one with a gradient of zero moves no weight:
    else the norms of the others would be drawn to zero as well.

    :param tasks: The names of all tasks.
    :param alpha: The higher, the more the tasks that lag behind count; 0 for equal norms.
    :param lr: Learning rate of the weights (Adam).
    :param initial_steps: Steps of each task over which ``L(0)`` is averaged.
    """

    separate_graphs = True
    needs_positive_losses = True
    _floor = 1e-3

    factors: Tensor  # float32 [tasks], the weights; their sum is the number of tasks
    initial: Tensor  # float32 [tasks], L(0)
    counts: Tensor  # int64 [tasks], the steps that it is the mean of

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        alpha: float = 1.5,
        lr: float = 0.025,
        initial_steps: int = 1,
    ) -> None:
        super().__init__(tasks)
        if not 0 <= alpha <= 10:
            raise ValueError(f'alpha must lie in [0, 10], got {alpha}.')
        check_positive(lr=lr)
        if initial_steps < 1:
            raise ValueError(f'initial_steps must be at least 1, got {initial_steps}.')
        self._alpha, self._initial_steps = alpha, initial_steps
        self.register_buffer('factors', torch.ones(len(self.tasks)))
        self.register_buffer('initial', torch.zeros(len(self.tasks)))
        self.register_buffer('counts', torch.zeros(len(self.tasks), dtype=torch.int64))
        self.adam = VectorAdam(len(self.tasks), lr=lr)

    def backward(self, losses: Losses, context: StepContext) -> None:
        """Leave the gradient of the weighted sum, then move the weights."""
        rows = [self.tasks.index(task) for task in losses]
        means = mean_losses(losses).detach().float()
        alive = means > LOSS_FLOOR
        # Of the tasks present; the share of the absent ones stays theirs.
        shares = torch.where(alive, self.factors[rows], 0)
        factors = torch.where(alive, shares * (alive.sum() / shares.sum()), 1)
        weighted = {
            task: _times(loss, factor) for (task, loss), factor in zip(losses.items(), factors)
        }
        gradients = task_gradients(weighted, context)
        set_gradient(gradients.sum(0), context)
        rates, norms = self._rates(means, rows), gradients.norm(dim=1)
        moving = (alive & (norms > 0)).nonzero().flatten()
        if len(moving):
            places = [rows[i] for i in moving.tolist()]
            self._move(places, factors[moving], norms[moving], rates[moving])

    def weights(self) -> dict[str, float]:
        """Return the weights that the next step of all tasks has."""
        return dict(zip(self.tasks, self.factors.tolist()))

    def _rates(self, means: Tensor, rows: list[int]) -> Tensor:
        """Return ``L / L(0)``, and take the first losses into ``L(0)``."""
        counts, initial = self.counts[rows], self.initial[rows]
        early = counts < self._initial_steps
        initial = torch.where(early, initial + (means - initial) / (counts + 1), initial)
        self.initial[rows] = initial
        self.counts[rows] = counts + early
        return (means + LOSS_FLOOR) / (initial + LOSS_FLOOR)

    def _move(self, rows: list[int], factors: Tensor, norms: Tensor, rates: Tensor) -> None:
        targets = norms.mean() * (rates / rates.mean()) ** self._alpha
        # The targets are constants, and a norm is its weight times one that does not depend on it.
        slopes = torch.sign(norms - targets) * norms / factors
        moved = self.adam.updated(factors, slopes, rows).clamp(min=self._floor)
        self.factors[rows] = moved * (self.factors[rows].sum() / moved.sum())


def _times(loss: TaskLoss, factor: Tensor) -> TaskLoss:
    offset = None if loss.offset is None else loss.offset * factor
    return replace(loss, values=loss.values * factor, offset=offset)
