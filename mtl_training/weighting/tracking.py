"""What the gradient weightings have in common that keep the gradients of a task over steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_training.weighting.contract import Losses, StepContext
from mtl_training.weighting.gradient_weighting import GradientWeighting
import torch
from torch import Tensor


class TrackingWeighting(GradientWeighting):
    """
    Keep one row per task, as long as a gradient, from step to step.

    A method implements :meth:`track`. It never sees a gradient of zero, which would in time get
    all the weight and stop the other tasks: such a task counts as absent, and has weight 1.

    :param tasks: The names of all tasks.
    """

    # Buffers whose size is known from the first step on only: empty at first.
    growing_buffers: tuple[str, ...] = ()

    def track(self, rows: Tensor, index: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """
        Take in the gradients, then combine them.

        :param rows: ``[K, P]`` float32, finite, none zero.
        :param index: int64 ``[K]`` on the CPU, their places among all tasks.
        :return: The gradient, ``[P]``, and the weights, float64 ``[K]`` on the CPU.
        """
        raise NotImplementedError

    def moves(self, rows: Tensor, losses: Losses) -> Tensor:
        """Return which tasks :meth:`track` is to see, bool ``[K]`` on the CPU."""
        # The beginnings tell, nearly always.
        beginnings = rows[:, :4096].any(1)
        return (beginnings if beginnings.all() else rows.any(1)).cpu()

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient that the method makes of those that move, plus the others."""
        moves = self.moves(rows, losses)
        if moves.all():
            return self.track(rows, index, losses)
        weights = torch.ones(len(rows), dtype=torch.float64)
        gradient = rows[~moves.to(rows.device)].sum(0)
        if moves.any():
            moving = {task: loss for (task, loss), m in zip(losses.items(), moves.tolist()) if m}
            combined, weights[moves] = self.track(
                rows[moves.to(rows.device)], index[moves], moving
            )
            gradient += combined
        return gradient, weights

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in self.growing_buffers:
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def grown(buffer: Tensor, num_tasks: int, rows: Tensor) -> Tensor:
    """
    Return a buffer of one row per task, zeros if it was empty.

    :raises ValueError: If it was kept for another number of shared parameters.
    """
    if not buffer.numel():
        return rows.new_zeros(num_tasks, rows.shape[1])
    if buffer.shape != (num_tasks, rows.shape[1]):
        raise ValueError(
            f'the state of the weighting must be for {rows.shape[1]} shared parameters, '
            f'got {buffer.shape[1]}.'
        )
    return buffer
