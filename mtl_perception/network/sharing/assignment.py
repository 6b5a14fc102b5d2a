"""Which copy of a layer each task uses, drawn at random and learnt without gradients (NES)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F


def utilities(losses: Tensor) -> Tensor:
    """
    Return the rank of each loss as a utility: 1 for the lowest, -1 for the highest.

    Equal losses have the mean of their ranks, so that a tie moves nothing. Losses that are not
    finite count as one worst loss; if all are such, all utilities are 0.

    :param losses: ``[S]``, at least two.
    :return: ``[S]``, of sum 0.
    """
    losses = torch.where(losses.isfinite(), losses.double(), torch.inf)
    worse = losses > losses.unsqueeze(1)
    better = losses < losses.unsqueeze(1)
    return (worse.sum(1) - better.sum(1)) / (len(losses) - 1)


class AssignmentDistribution(nn.Module):
    """
    Independent categoricals over the copies of each layer, one per layer and task.

    :param min_probability: Kept by every copy, so that none is lost for ever.
    """

    probabilities: Tensor

    def __init__(
        self, num_layers: int, num_tasks: int, num_copies: int, *, min_probability: float = 1e-3
    ) -> None:
        super().__init__()
        self._min_probability = min_probability
        uniform = torch.full((num_layers, num_tasks, num_copies), 1 / num_copies)
        self.register_buffer('probabilities', uniform)

    def sample(self, num_samples: int) -> Tensor:
        """Draw assignments, int64 ``[S, layers, tasks]``, from torch's default CPU generator."""
        num_layers, num_tasks, num_copies = self.probabilities.shape
        rows = self.probabilities.cpu().view(-1, num_copies)
        drawn = torch.multinomial(rows, num_samples, replacement=True)
        return drawn.T.reshape(num_samples, num_layers, num_tasks)

    def most_probable(self) -> Tensor:
        """Return the copy that each layer and task prefers, int64 ``[layers, tasks]``."""
        return self.probabilities.cpu().argmax(-1)

    def mean_entropy(self) -> float:
        """Return the mean entropy of the rows in nats: that of a coin at first, 0 if decided."""
        return float(torch.special.entr(self.probabilities.double()).sum(-1).mean())

    @torch.no_grad()
    def improve(self, assignments: Tensor, utility: Mapping[int, Tensor], rate: float) -> None:
        """
        Follow the natural gradient of the expected utility (Wierstra et al., 2014).

        That of the log-probability of copy m is ``onehot(m) - probabilities``.

        :param assignments: What was tried, ``[S, layers, tasks]``.
        :param utility: ``[S]`` by the number of a task; the rows of other tasks stay, as
            do those of a task without any preference.
        :param rate: Step size.
        """
        tasks = [task for task, values in utility.items() if values.any()]
        if not tasks:
            return
        rows = self.probabilities[:, tasks]
        chosen = F.one_hot(assignments[:, :, tasks].to(rows.device), rows.shape[-1])
        weights = torch.stack([utility[task] for task in tasks], 1).to(rows)
        gradient = torch.einsum('st,sltm->ltm', weights, chosen - rows) / len(assignments)
        self.probabilities[:, tasks] = self._clamped(rows + rate * gradient)

    def _clamped(self, rows: Tensor) -> Tensor:
        """Return distributions that keep the minimum; such rows stay as they are."""
        least = self._min_probability
        above = (rows - least).clamp_min(0)
        total = above.sum(-1, keepdim=True)
        return least + (1 - rows.shape[-1] * least) * above / total

    def _apply(self, fn: Any, recurse: bool = True) -> AssignmentDistribution:
        # Steps of a thousandth are lost in half precision, whatever the network computes in.
        exact = self.probabilities
        super()._apply(fn, recurse)
        self.probabilities = exact.to(self.probabilities.device)
        return self
