"""
Batch norm over the batches of all processes, on any device.

PyTorch's own is for GPUs alone; with this one, runs on several processes are those of one process
with the same global batch everywhere.
"""

from __future__ import annotations

from typing import Any, cast

from mtl_training.processes import world_size
import torch
from torch import distributed, nn, Tensor
from torch.autograd.function import once_differentiable


class _Sum(torch.autograd.Function):
    """Sum over all processes; so is the gradient, for each process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SyncedBatchNorm3d(nn.BatchNorm3d):
    """A batch norm whose statistics in training are those of the batches of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C, T, H, W]``."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        # As the built-in ones do, in float32 at least: scale and shift alone lose digits.
        values = x if x.dtype == torch.float64 else x.float()
        mean, variance = self._statistics(values)
        shape = (1, -1, 1, 1, 1)
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised = (values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normalised.to(x.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        axes = (0, 2, 3, 4)
        count = values.numel() // values.shape[1] * world_size()
        mean = cast(Tensor, _Sum.apply(values.sum(axes))) / count
        centred = values - mean.view(1, -1, 1, 1, 1)
        variance = cast(Tensor, _Sum.apply(centred.square().sum(axes))) / count
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked += 1
                unbiased = variance * (count / max(1, count - 1))
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum or 0.1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum or 0.1)
        return mean, variance


def sync_batch_norms(network: nn.Module) -> None:
    """Let every 3D batch norm of a network see the batches of all processes, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm3d:
            # The same parameters and buffers under the same names.
            module.__class__ = SyncedBatchNorm3d
