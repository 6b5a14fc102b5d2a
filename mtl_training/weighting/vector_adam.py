"""Adam for the few numbers that a weighting learns by rules of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor


class VectorAdam(nn.Module):
    """
    Adam on some elements of a vector (Kingma & Ba, 2015), with its state in buffers.

    :param size: Elements of the vector.
    :param lr: Learning rate.
    :param betas: Decay of the first and of the second moment.
    :param weight_decay: Factor of the values that is added to their gradient.
    """

    first: Tensor  # float32 [size]
    second: Tensor  # float32 [size]
    steps: Tensor  # int64 [size], updates of each element

    def __init__(
        self,
        size: int,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self._lr, self._betas, self._weight_decay = lr, betas, weight_decay
        self.register_buffer('first', torch.zeros(size))
        self.register_buffer('second', torch.zeros(size))
        self.register_buffer('steps', torch.zeros(size, dtype=torch.int64))

    @torch.no_grad()
    def updated(self, values: Tensor, gradients: Tensor, rows: Sequence[int]) -> Tensor:
        """
        Return elements after one step; the state of all others stays as it is.

        :param values: The elements, ``[P]``.
        :param gradients: Their gradients, ``[P]``.
        :param rows: Their places in the vector.
        """
        one, two = self._betas
        places = list(rows)
        gradients = gradients + self._weight_decay * values
        self.steps[places] += 1
        self.first[places] = one * self.first[places] + (1 - one) * gradients
        self.second[places] = two * self.second[places] + (1 - two) * gradients**2
        steps = self.steps[places]
        first = self.first[places] / (1 - one**steps)
        second = self.second[places] / (1 - two**steps)
        return values - self._lr * first / (second.sqrt() + 1e-8)
