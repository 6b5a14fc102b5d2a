"""No sharing: one trunk per task, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mtl_perception.network.backbones import StagedBackbone
from mtl_perception.network.sharing.contract import MakeTrunk, SharingMethod
from torch import nn, Tensor


class SingleTask(SharingMethod):
    """One trunk per task: nothing is shared (the baseline of Caruana, 1997)."""

    def __init__(self, make_trunk: MakeTrunk, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.task_trunks = nn.ModuleDict({task: make_trunk() for task in tasks})
        self.feature_dim = cast('StagedBackbone', self.task_trunks[tasks[0]]).feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the stages of every trunk, in the order of the tasks."""
        trunks = [cast('StagedBackbone', self.task_trunks[task]) for task in self.tasks]
        return [stage for trunk in trunks for stage in trunk.stages()]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return nothing: no parameter is shared."""
        return []

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the features of the same clips from every task's own trunk."""
        return {task: self.task_trunks[task](clips) for task in self.tasks}

    def forward_task(self, clips: Tensor, task: str) -> Tensor:
        """Return the features from the task's own trunk."""
        self._check_task(task)
        return self.task_trunks[task](clips)
