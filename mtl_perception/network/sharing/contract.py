"""What every sharing method offers to the network that holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
import copy

from mtl_perception.network.backbones import StagedBackbone
from mtl_perception.network.folding import fold_batch_norms
from torch import nn, Tensor


class SharingMethod(nn.Module, ABC):
    """
    The owner of one or more copies of a trunk, and of how the tasks share them.

    A subclass takes ``make_trunk`` and ``tasks``, then its own settings as keywords. All its
    tensors belong to its state dict: a checkpoint restores nothing else.
    """

    feature_dim: int

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f'tasks must be distinct and at least one, got {list(tasks)}.')
        self.tasks = tuple(tasks)

    @abstractmethod
    def trunks(self) -> list[StagedBackbone]:
        """Return every whole copy of the trunk, for loading pretrained weights."""

    @abstractmethod
    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """
        Return the features of the same clips for every task.

        :param clips: Normalised clips, ``[B, 3, T, H, W]``.
        :return: ``[B, D]`` per task.
        """

    @abstractmethod
    def forward_task(self, clips: Tensor, task: str) -> Tensor:
        """Return the features, ``[B, D]``, of clips that belong to one task."""

    def forward_tasks(
        self, clips: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Tensor]:
        """
        Return the features of each task's own clips.

        :param clips: ``[B, 3, T, H, W]`` per task; batch sizes may differ and tasks may be absent.
        :param merge: Run batches of one clip shape through shared stages in one pass, where the
            method can: faster, and live batch norms see all tasks. False keeps one graph per
            task, as methods that need per-task gradients do.
        :return: ``[B, D]`` per task given.
        """
        return {task: self.forward_task(batch, task) for task, batch in clips.items()}

    def deploy(self) -> SharingMethod:
        """Return an independent copy that only infers: evaluation mode, batch norms folded."""
        return fold_batch_norms(copy.deepcopy(self).eval()).requires_grad_(False)

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise ValueError(f"Unknown task '{task}'; known tasks: {list(self.tasks)}.")


MakeTrunk = Callable[[], StagedBackbone]
