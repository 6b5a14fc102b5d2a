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
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm


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


class _SyncedBatchNorm(_BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]``."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        return self._normalised(x, x.numel() // x.shape[1] * world_size())

    def _normalised(self, x: Tensor, count: int) -> Tensor:
        # As the built-in ones do, in float32 at least: scale and shift alone lose digits.
        values = x if x.dtype == torch.float64 else x.float()
        mean, variance = self._statistics(values, count)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised = (values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normalised.to(x.dtype)

    def _statistics(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """
        Return mean and variance of all processes' values, ``[C]`` each.

        :param count: Of the values per channel, over all processes.
        """
        axes = (0, *range(2, values.ndim))
        mean = cast(Tensor, _Sum.apply(values.sum(axes))) / count
        centred = values - mean.view(1, -1, *(1,) * (values.ndim - 2))
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


class SyncedBatchNorm3d(_SyncedBatchNorm, nn.BatchNorm3d):
    """A batch norm whose statistics in training are those of the batches of all processes."""


class SyncedBatchNorm2d(_SyncedBatchNorm, nn.BatchNorm2d):
    """A batch norm whose statistics in training are those of the batches of all processes."""


class SyncedBatchNorm1d(_SyncedBatchNorm, nn.BatchNorm1d):
    """
    A batch norm of people, of whom the processes may have different numbers.

    A batch of nobody or of one person has no statistics: it is normalised as in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C]``."""
        if not self.training:
            return super().forward(x)
        count = len(x)
        if world_size() > 1:
            # Exact: whole numbers in float64.
            counts = torch.tensor([count], dtype=torch.float64, device=x.device)
            count = int(cast(Tensor, _Sum.apply(counts)))
        if count < 2:
            return batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x) if world_size() == 1 else self._normalised(x, count)


_SYNCED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: SyncedBatchNorm1d,
    nn.BatchNorm2d: SyncedBatchNorm2d,
    nn.BatchNorm3d: SyncedBatchNorm3d,
}


def sync_batch_norms(network: nn.Module) -> None:
    """Let every batch norm of a network see the batches of all processes, in place."""
    for module in network.modules():
        if type(module) in _SYNCED:
            # The same parameters and buffers under the same names.
            module.__class__ = _SYNCED[type(module)]
