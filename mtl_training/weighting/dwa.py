"""Dynamic weight average: tasks whose loss falls slowly count more."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.scaling import check_positive, LOSS_FLOOR, LossWeighting, Present
import torch
from torch import Tensor


class DWAWeighting(LossWeighting):
    """
    More weight for tasks whose loss falls slowly, over intervals (DWA, Liu et al., 2019).

    A task's rate is its mean unweighted loss over the last interval divided by that over the one
    before; the weights are a softmax of rate / temperature and sum to the number of tasks present
    (eq. 7). All are 1 in the first two intervals. Intervals, epochs in the paper, are counted in
    iterations; a task averages over those that it is present in, and its rate is 1 until it has
    been in two intervals.

    :param tasks: The names of all tasks.
    :param interval: Iterations per interval.
    :param temperature: The higher, the more equal the weights.
    """

    needs_positive_losses = True
    _max_rate = 1e4  # beyond it a weight is that of one task alone anyway

    sums: Tensor  # float32 [tasks], of the losses in the present interval
    counts: Tensor  # int64 [tasks], their numbers
    newer: Tensor  # float32 [tasks], means of the last interval a task was in; 0: not known
    older: Tensor  # float32 [tasks], of the one before
    iterations: Tensor  # int64, in the present interval

    def __init__(
        self, tasks: Sequence[str], *, interval: int = 500, temperature: float = 2.0
    ) -> None:
        super().__init__(tasks)
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}.')
        check_positive(temperature=temperature)
        self._interval, self._temperature = interval, temperature
        for name in ('sums', 'newer', 'older'):
            self.register_buffer(name, torch.zeros(len(self.tasks)))
        self.register_buffer('counts', torch.zeros(len(self.tasks), dtype=torch.int64))
        self.register_buffer('iterations', torch.zeros((), dtype=torch.int64))

    def log_factors(self, present: Present) -> Tensor:
        """Return the rates over the temperature, and take in the losses."""
        rates = torch.where(self.older > 0, self.newer / self.older, 1.0)
        rates = rates.clamp(max=self._max_rate)[present.rows]
        self._take_in(present)
        return rates / self._temperature

    def _take_in(self, present: Present) -> None:
        self.sums[present.rows] += present.means
        self.counts[present.rows] += 1
        self.iterations += 1
        if self.iterations < self._interval:
            return
        seen = self.counts > 0
        means = (self.sums / self.counts.clamp(min=1)).clamp(min=LOSS_FLOOR)
        self.older.copy_(torch.where(seen, self.newer, self.older))
        self.newer.copy_(torch.where(seen, means, self.newer))
        for buffer in (self.sums, self.counts, self.iterations):
            buffer.zero_()
