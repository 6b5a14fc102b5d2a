"""
What the processes of a run exchange.

The gradients are averaged here once per step, after the whole backward pass, and not by hooks
during it: a step may run several backward passes, or leave out the parameters of a branch that it
did not draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed, nn, Tensor

T = TypeVar('T')


def world_size() -> int:
    """Return the number of processes of the run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without a graph."""
    return sum_over_processes(values) / world_size() if world_size() > 1 else values.detach()


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, without a graph."""
    total = values.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def rows_of_all_processes(values: Tensor) -> Tensor:
    """Return the rows of a tensor of all processes, in their order; each has as many."""
    if world_size() == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(world_size())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def gather_objects(value: T) -> list[T]:
    """Return a value of every process, in their order; it must be one that pickle knows."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast_state(*modules: nn.Module) -> None:
    """Give the parameters and buffers of modules the values that they have in the main process."""
    if world_size() == 1:
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            distributed.broadcast(tensor.detach(), src=0)


@contextmanager
def own_draws() -> Iterator[None]:
    """
    Let each process draw numbers of its own within, as many as it likes.

    The default generator, whose state is the same in all processes, moves on by one number. A
    process that is alone draws as ever.
    """
    if world_size() == 1:
        yield
        return
    seed = int(torch.randint(2**31, ())) + distributed.get_rank()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients that there are by their means over all processes."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = mean_over_processes(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(part.view(gradient.shape))
