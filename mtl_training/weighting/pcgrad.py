"""PCGrad: what of a gradient conflicts with another one is projected out."""

from __future__ import annotations

from mtl_training.weighting import torchjd_adapter
from mtl_training.weighting.gradient_weighting import GramianWeighting
from torch import Tensor


class PCGradWeighting(GramianWeighting):
    """
    Gradients without their parts that conflict with other tasks' (Yu et al., 2020).

    Each gradient is projected onto the normal plane of every other task's gradient with which it
    has a negative inner product, in a drawn order where there are more than two tasks; the results
    are summed. Without ``normalise`` the weights sum to the number of tasks where nothing
    conflicts, and to more where something does.
    """

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights, each at least 1."""
        return two_tasks(gram) if len(gram) == 2 else torchjd_adapter.pcgrad(gram)


def two_tasks(gram: Tensor) -> Tensor:
    """Return PCGrad's weights of two tasks: nothing to draw, ``1 - min(g_12, 0) / g_ii``."""
    return 1 - gram[0, 1].clamp_max(0) / gram.diagonal()
