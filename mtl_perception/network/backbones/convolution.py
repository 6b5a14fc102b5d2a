"""3D convolution, with a way round a kernel that computes wrong gradients."""

from __future__ import annotations

import torch
from torch import nn, Tensor


class Conv3d(nn.Conv3d):
    """
    :class:`torch.nn.Conv3d` whose gradients are right in bfloat16 on a CPU too.

    On CPUs with AVX-512 BF16, PyTorch 2.15 fills the weight gradient with uninitialised memory
    when the input is two frames long and the kernel is longer than one, as in the last stage of a
    clip of 16 frames. Such a convolution is small, and is computed in float32. Other degenerate
    shapes of the same kernels are in pytorch/pytorch#169688. This class can go when
    ``test_bfloat16_gradients_are_right_on_a_cpu`` passes without it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``[B, C, T, H, W]``."""
        if not self._is_affected(x):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast('cpu', enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).bfloat16()

    def _is_affected(self, x: Tensor) -> bool:
        if x.device.type != 'cpu' or x.shape[2] != 2 or self.kernel_size[0] == 1:
            return False
        if torch.is_autocast_enabled('cpu'):
            return torch.get_autocast_dtype('cpu') == torch.bfloat16
        return x.dtype == torch.bfloat16
