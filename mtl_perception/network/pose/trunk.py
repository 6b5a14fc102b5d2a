"""The trunk of the tasks that look at single frames: one ResNet for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_perception.network.backbones.resnet2d import ResNet2d
from mtl_perception.network.sharing.contract import SharingMethod
import torch
from torch import nn, Tensor

Maps = list[Tensor]  # C2 to C5


class FrameTrunk(SharingMethod):
    """
    One backbone whose maps C2 to C5 feed every frame task; each task has its own pyramid on them.

    It is hard sharing (Caruana, 1997), with maps for features.
    """

    def __init__(self, backbone: ResNet2d, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.body = backbone
        self.channels = backbone.channels
        self.feature_dim = backbone.channels[-1]

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the parts of the backbone by their paths; each exists once."""
        return self.body.stages()

    def forward(self, frames: Tensor) -> dict[str, Maps]:  # type: ignore[override]
        """Return the same maps of frames, ``[B, 3, H, W]``, for every task; the body runs once."""
        return dict.fromkeys(self.tasks, self.body(frames))

    def forward_task(self, frames: Tensor, task: str) -> Maps:  # type: ignore[override]
        """Return the maps of frames that belong to one task."""
        self._check_task(task)
        maps: Maps = self.body(frames)
        return maps

    def forward_tasks(  # type: ignore[override]
        self, frames: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Maps]:
        """
        Return the maps of each task's own frames.

        :param frames: ``[B, 3, H, W]`` per task; batch sizes may differ and tasks may be absent.
        :param merge: Run all batches of one size in one pass. False keeps one graph per task.
        """
        if not merge or len({batch.shape[1:] for batch in frames.values()}) > 1:
            return {task: self.forward_task(batch, task) for task, batch in frames.items()}
        sizes = [len(batch) for batch in frames.values()]
        parts = [maps.split(sizes) for maps in self.body(torch.cat([*frames.values()]))]
        return {task: [part[i] for part in parts] for i, task in enumerate(frames)}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that the losses of more than one task can reach."""
        return super().shared_parameters() if len(self.tasks) > 1 else []
