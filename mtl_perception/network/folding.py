"""Folding batch norms into the convolutions before them."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar('M', bound=nn.Module)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(module: M) -> M:
    """
    Fold every batch norm that directly follows a convolution, in place.

    Follows: in a ``Sequential``, or as ``bn1`` to ``bn3`` after ``conv1`` to ``conv3`` in a module
    that names them so, as torchvision's ResNets and their blocks do.

    :param module: A module in evaluation mode; its outputs stay equal.
    :return: The same module, an identity in place of each folded batch norm.
    """
    for sequential in [m for m in module.modules() if isinstance(m, nn.Sequential)]:
        for i, (first, second) in enumerate(pairwise(list(sequential))):
            if isinstance(first, CONVOLUTIONS) and isinstance(second, BATCH_NORMS):
                sequential[i] = _folded(first, second)
                sequential[i + 1] = nn.Identity()
    for block in list(module.modules()):
        for number in ('1', '2', '3'):
            convolution = getattr(block, f'conv{number}', None)
            norm = getattr(block, f'bn{number}', None)
            if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, BATCH_NORMS):
                setattr(block, f'conv{number}', _folded(convolution, norm))
                setattr(block, f'bn{number}', nn.Identity())
    return module


def _folded(
    convolution: nn.Conv1d | nn.Conv2d | nn.Conv3d, norm: _BatchNorm
) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    dtype = convolution.weight.dtype
    if dtype not in (torch.float16, torch.bfloat16):
        return fuse_conv_bn_eval(convolution, norm)
    # In a half precision each step of the folding would round the weights again.
    return fuse_conv_bn_eval(convolution.float(), norm.float()).to(dtype)
