"""Smooth Tchebycheff scalarization: the largest loss counts most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

from mtl_training.weighting.scaling import check_positive, LOSS_FLOOR, LossWeighting, Present
import torch
from torch import Tensor


class STCHWeighting(LossWeighting):
    """
    A smooth maximum of the losses, each relative to its start (STCH, Lin et al., 2024).

    Minimises ``mu * log sum exp(f / mu)`` (eq. 6) with ``f = (L - ideal) / (nadir - ideal)``. The
    nadir is the mean loss of a task over its first steps, the warm-up, in which all weights are 1.
    If a task is in its warm-up, all weights of the step are 1.
    TorchJD's ``STCH`` has preferences of 1/K in ``f`` by default, so that its mu / K does what mu
    does here.
    The authors' experiments minimise the smooth maximum of ``log f`` instead, which is
    ``logarithmic`` here; times K, and with log-losses in the warm-up too, which ours are not.

    :param tasks: The names of all tasks.
    :param mu: The smaller, the more the largest loss counts alone.
    :param warm_up: Steps of each task before its nadir is known.
    :param ideal: The lowest loss that a task can have; 0 for those not named.
    :param logarithmic: The smooth maximum of ``log f``: weights in proportion to
        ``f ** (1 / mu) / (L - ideal)``.
    :param normalise: Scale the weights to a sum of the number of tasks present.
    """

    needs_positive_losses = True  # but of tasks whose ideal is below 0

    sums: Tensor  # float32 [tasks], of the losses in the warm-up
    counts: Tensor  # int64 [tasks], their numbers
    ideal: Tensor  # float32 [tasks]

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        mu: float = 0.5,
        warm_up: int = 100,
        ideal: Mapping[str, float] | None = None,
        logarithmic: bool = False,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        check_positive(mu=mu)
        if warm_up < 1:
            raise ValueError(f'warm_up must be at least 1, got {warm_up}.')
        for task, value in (ideal or {}).items():
            if task not in self.tasks:
                raise ValueError(f"ideal: no task '{task}'; tasks: {list(self.tasks)}.")
            if not (isinstance(value, (int, float)) and math.isfinite(value)):
                raise ValueError(f"ideal: that of '{task}' must be a number, got {value!r}.")
        self._mu, self._warm_up, self._logarithmic = mu, warm_up, logarithmic
        self.register_buffer('sums', torch.zeros(len(self.tasks)))
        self.register_buffer('counts', torch.zeros(len(self.tasks), dtype=torch.int64))
        lowest = [float((ideal or {}).get(task, 0.0)) for task in self.tasks]
        self.register_buffer('ideal', torch.tensor(lowest), persistent=False)

    def needs_positive_loss(self, task: str) -> bool:
        """Tell whether the loss of a task must never be negative: not with an ideal below 0."""
        return bool(self.ideal[self.tasks.index(task)] >= 0)

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of the derivatives, 0 in a warm-up."""
        rows, means = present.rows, present.means
        warming = self.counts[rows] < self._warm_up
        if warming.any():
            self.sums[rows] += torch.where(warming, means, 0.0)
            self.counts[rows] += warming
            return torch.zeros_like(means)
        ideal = self.ideal[rows]
        spans = (self.sums[rows] / self.counts[rows] - ideal).clamp(min=LOSS_FLOOR)
        above = means - ideal
        if self._logarithmic:
            logs = above.clamp(min=LOSS_FLOOR).log()
            return ((logs - spans.log()) / self._mu).log_softmax(0) - logs
        return (above / spans / self._mu).log_softmax(0) - spans.log()
