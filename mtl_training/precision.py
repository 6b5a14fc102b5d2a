"""A way around wrong gradients of 3D convolutions in bfloat16 on the CPU."""

from __future__ import annotations

from torch import nn, Tensor
from torch.nn.functional import pad


class DepthSafeConv3d(nn.Conv3d):
    """
    A convolution whose input is never as short as its temporal padding.

    oneDNN's weight gradient in bfloat16 is wrong, at times NaN, when the input has more than one
    frame but no more than the padding adds (seen with torch 2.15 on AVX-512 BF16; a ResNet-3D on
    16 frames has two in its last layer). Zero frames appended behind the input, and their outputs
    dropped, change no value and avoid it.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        depth, padding = input.shape[2], self.padding[0]
        is_risky = isinstance(padding, int) and 1 < depth <= 2 * padding and self.stride[0] == 1
        if not is_risky:
            return super()._conv_forward(input, weight, bias)
        missing = 2 * int(padding) + 1 - depth
        output = super()._conv_forward(pad(input, (0, 0, 0, 0, 0, missing)), weight, bias)
        return output[:, :, : output.shape[2] - missing]


def make_depth_safe(network: nn.Module) -> None:
    """Let all 3D convolutions of a network train in bfloat16 on the CPU; names stay."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = DepthSafeConv3d
