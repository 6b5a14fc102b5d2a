"""Prototypes: what every known task sees, on average, of each concept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional


class PrototypeBank(nn.Module):
    """
    The prototypes of some tasks, one for each concept: buffers, which nothing trains.

    Peirone et al. (CVPR 2024), section 3.3. They are zeros until they are stored.
    """

    def __init__(self, tasks: Sequence[str], concepts: Sequence[str], width: int) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.concepts = tuple(concepts)
        # A module of their own: a task may have the name of anything else here.
        self.means = nn.Module()
        for task in tasks:
            self.means.register_buffer(task, torch.zeros(len(concepts), width))

    def of(self, task: str) -> Tensor:
        """
        Return the prototypes of a task, ``[C, H]``.

        :raises ValueError: If it has none.
        """
        if task not in self.tasks:
            raise ValueError(f"Task '{task}' has no prototypes; those that have: {self.tasks}.")
        return self.means.get_buffer(task)

    def store(self, task: str, means: Tensor) -> None:
        """
        Keep prototypes of a task.

        :param means: The mean features of each concept, ``[C, H]``, of any precision.
        :raises ValueError: If the task has none, the shape is another or a value is not finite.
        """
        kept = self.of(task)
        if means.shape != kept.shape:
            raise ValueError(
                f"means of task '{task}' must be {tuple(kept.shape)}, got {tuple(means.shape)}."
            )
        if not means.isfinite().all():
            raise ValueError(f"means of task '{task}' must be finite.")
        with torch.no_grad():
            kept.copy_(means)


def nearest(queries: Tensor, prototypes: Tensor, k: int) -> Tensor:
    """
    Return which prototypes are nearest to each query by the cosine, the nearest first.

    :param queries: ``[B, N, H]``.
    :param prototypes: ``[C, H]``.
    :param k: At most C.
    :return: int64 ``[B, N, k]``; no gradient flows through a choice.
    """
    # In half precision a length may overflow, and neighbours become equal.
    dtype = torch.promote_types(queries.dtype, torch.float32)
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        units = functional.normalize(queries.to(dtype), dim=-1)
        cosines = units @ functional.normalize(prototypes.to(dtype), dim=-1).T
        return cosines.topk(k, dim=-1).indices
