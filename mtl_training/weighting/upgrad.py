"""UPGrad: each gradient's nearest vector that conflicts with no task, averaged."""

from __future__ import annotations

from mtl_training.weighting import torchjd_adapter
from mtl_training.weighting.gradient_weighting import GramianWeighting
from mtl_training.weighting.pcgrad import two_tasks
from torch import Tensor


class UPGradWeighting(GramianWeighting):
    """
    The mean of the gradients projected onto the dual cone (Quinton & Rey, 2024).

    Each gradient is replaced by the nearest vector along which no task gets worse. For two tasks
    this is half of PCGrad. Without ``normalise`` the weights sum to 1 where nothing conflicts, and
    to more where something does.
    """

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, each at least 1 / K."""
        return two_tasks(gram) / 2 if len(gram) == 2 else torchjd_adapter.upgrad(gram)
