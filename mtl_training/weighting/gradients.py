"""
Per-task gradients of the shared parameters, as the rows of a matrix.

Each task's loss owns its graph, so the gradients of all tasks cost one backward pass in total.
What only one task reaches (its head, its private branch) gets the plain gradient of its loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses, NotFiniteError, StepContext
import torch
from torch import nn, Tensor


def task_gradients(losses: Losses, context: StepContext) -> Tensor:
    """
    Run the backward pass of every task by itself.

    Afterwards ``.grad`` holds the gradients of all other parameters, and is None for the shared.

    :return: ``[K, P]`` float32, the tasks in the order of ``losses``; means over all processes,
        without the loss scale. ``P`` counts the elements of ``context.shared_parameters``.
    :raises NotFiniteError: If an element of these or of other parameters is not finite, in all
        processes or none; ``.grad`` holds it then.
    """
    shared = context.shared_parameters
    sizes = [parameter.numel() for parameter in shared]
    rows = torch.empty(len(losses), sum(sizes), device=_device(losses))
    for row, loss in zip(rows, losses.values()):
        for parameter in shared:
            parameter.grad = None
        context.backward(loss.mean())
        for part, parameter in zip(row.split(sizes), shared):
            if parameter.grad is None:
                part.zero_()
            else:
                part.view_as(parameter).copy_(parameter.grad)
                parameter.grad = None
    rows = context.reduce(rows)
    if context.loss_scale != 1:
        rows = rows / context.loss_scale
    if not _is_finite(rows, context):
        set_gradient(rows.sum(0), context)
        raise NotFiniteError
    return rows


def _is_finite(rows: Tensor, context: StepContext) -> bool:
    # Not isfinite(rows), which takes 40 times as long on a CPU.
    if rows.numel() and not torch.isfinite(torch.stack(torch.aminmax(rows))).all():
        return False
    others = torch.zeros((), device=rows.device)
    for parameter in context.parameters:
        if parameter.grad is not None and parameter.grad.numel():
            others = others + parameter.grad.abs().max() * 0
    return bool(torch.isfinite(context.reduce(others)))


def set_gradient(gradient: Tensor, context: StepContext) -> None:
    """Put one gradient of all shared parameters, ``[P]``, into ``.grad``, with the loss scale."""
    shared: Sequence[nn.Parameter] = context.shared_parameters
    if context.loss_scale != 1:
        gradient = gradient * context.loss_scale
    for part, parameter in zip(gradient.split([p.numel() for p in shared]), shared):
        # In the parameter's own memory layout and type, as a backward pass would leave it.
        parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))


def _device(losses: Losses) -> torch.device:
    return next(iter(losses.values())).values.device
