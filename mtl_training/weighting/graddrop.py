"""GradDrop: each element takes the gradients of one sign only."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses, StepContext
from mtl_training.weighting.gradient_weighting import check_range, GradientWeighting
import torch
from torch import Tensor


class GradDropWeighting(GradientWeighting):
    """
    In each element only the gradients of one drawn sign (Chen et al., GradDrop, 2020).

    Positive gradients are kept with the probability ``(1 + sum g / sum |g|) / 2``, eq. 1, else the
    negative ones: of the shared parameters here, of activations in the paper. The kept gradients
    are summed, so its scale is that of the plain sum where all agree, and larger where they do
    not. It has no weights.

    :param tasks: The names of all tasks.
    :param leak: The share of every gradient that is always kept; 1 is the plain sum.
    :raises ValueError: If ``leak`` is not in [0, 1].
    """

    def __init__(self, tasks: Sequence[str], *, leak: float = 0.0) -> None:
        super().__init__(tasks)
        self.leak = leak if leak == 1 else check_range('leak', leak, 0, 1)

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of what is kept, and weights of 1."""
        total, size = rows[0].clone(), rows[0].abs()
        for row in rows[1:]:
            total.add_(row)
            size.add_(row.abs())
        # Positive gradients are kept where the total is above the threshold. Those of one sign sum
        # to half of the total plus or minus the sum of sizes. No torch.where: it is slow on a CPU.
        kept = size.copysign_(self._threshold(size, context).sub_(total)).neg_().add_(total)
        gradient = kept.mul_(0.5).lerp_(total, self.leak)
        return gradient, torch.ones(len(rows), dtype=torch.float64)

    @staticmethod
    def _threshold(size: Tensor, context: StepContext) -> Tensor:
        # One seed for all processes; the numbers are drawn where the gradients are.
        seed = context.gather(torch.randint(2**62, (1,)).to(size.device))
        generator = torch.Generator(size.device).manual_seed(int(seed[0]))
        draws = torch.rand(size.shape, device=size.device, generator=generator)
        return draws.mul_(2).sub_(1).mul_(size)
