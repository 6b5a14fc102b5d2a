"""Hard parameter sharing: one trunk for all tasks (Caruana, 1997)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_perception.network.sharing.contract import MakeTrunk, SharingMethod
import torch
from torch import nn, Tensor


class HardSharing(SharingMethod):
    """One trunk that every task reads (Caruana, 1997)."""

    def __init__(self, make_trunk: MakeTrunk, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.trunk = make_trunk()
        self.feature_dim = self.trunk.feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the stages of the one trunk."""
        return list(self.trunk.stages())

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the same features for every task; the trunk runs once."""
        return dict.fromkeys(self.tasks, self.trunk(clips))

    def forward_task(self, clips: Tensor, task: str) -> Tensor:
        """Return the features of clips that belong to one task."""
        self._check_task(task)
        return self.trunk(clips)

    def forward_tasks(
        self, clips: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Tensor]:
        """Return the features of each task's own clips; merged, one pass per clip shape."""
        if not merge:
            return super().forward_tasks(clips, merge=False)
        groups: dict[tuple[int, ...], list[str]] = {}
        for task, batch in clips.items():
            self._check_task(task)
            groups.setdefault(tuple(batch.shape[1:]), []).append(task)
        features: dict[str, Tensor] = {}
        for tasks in groups.values():
            batches = [clips[task] for task in tasks]
            merged = batches[0] if len(batches) == 1 else torch.cat(batches)
            sizes = [len(batch) for batch in batches]
            features.update(zip(tasks, self.trunk(merged).split(sizes)))
        return {task: features[task] for task in clips}
