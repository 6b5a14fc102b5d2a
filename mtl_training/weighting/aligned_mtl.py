"""Aligned-MTL: the principal components of the gradients get one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from mtl_training.weighting import torchjd_adapter
from mtl_training.weighting.gradient_weighting import GramianWeighting
from torch import Tensor


class AlignedMTLWeighting(GramianWeighting):
    """
    Gradients made orthogonal and equally long (Senushkin et al., 2023).

    ``w = sqrt(s) G^(-1/2) 1/K``: the gradients' matrix with all singular values set to one. What
    is below the precision of the gradients counts as no component. Weights can be negative;
    where their sum is not clearly positive, ``normalise`` leaves them alone. Without it the
    weights are those published.

    :param tasks: The names of all tasks.
    :param scale_mode: Which of the eigenvalues is s: 'min', 'median', or 'rmse', their mean.
    :param normalise: Scale the weights so that they sum to the number of tasks present.
    :raises ValueError: If ``scale_mode`` is unknown.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        scale_mode: torchjd_adapter.ScaleMode = 'min',
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        modes = get_args(torchjd_adapter.ScaleMode)
        if scale_mode not in modes:
            raise ValueError(f'scale_mode must be one of {", ".join(modes)}, got {scale_mode!r}.')
        self.scale_mode = scale_mode

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights."""
        return torchjd_adapter.aligned_mtl(gram, self.scale_mode)
