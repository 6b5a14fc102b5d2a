"""
The weightings of TorchJD that serve here: the only place that knows its interface.

They are called as functions of a Gramian with a mean diagonal of 1 and of tasks that are present
and have a gradient. So their absolute ``norm_eps`` and ``reg_eps`` are relative here and can't
turn them into a plain mean where gradients are small. What some keep between calls is not used.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting, PCGradWeighting, UPGradWeighting

ScaleMode = Literal['min', 'median', 'rmse']


def pcgrad(gram: Tensor) -> Tensor:
    """Return the weights of PCGrad, float64 ``[K]``; the order of projections is drawn."""
    return PCGradWeighting()(gram)


def upgrad(gram: Tensor) -> Tensor:
    """Return the weights of UPGrad, float64 ``[K]``, to about 1e-4."""
    return UPGradWeighting()(gram)


def aligned_mtl(gram: Tensor, scale_mode: ScaleMode) -> Tensor:
    """Return the weights of Aligned-MTL, float64 ``[K]``."""
    # In float32, which the gradients had: its rank tolerance is that of the type, and in float64
    # their rounding errors would count as a smallest eigenvalue, which scales everything.
    return AlignedMTLWeighting(scale_mode=scale_mode)(gram.float()).double()
