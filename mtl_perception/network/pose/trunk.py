"""The trunk of the tasks that look at single frames: one ResNet for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import copy

from mtl_perception.network.backbones.resnet2d import ResNet2d
import torch
from torch import nn, Tensor

Maps = list[Tensor]  # C2 to C5


class FrameTrunk(nn.Module):
    """
    One backbone whose maps C2 to C5 feed every frame task; each task has its own pyramid on them.

    It offers what a training step asks of a :class:`SharingMethod`: this is hard sharing.
    """

    searches = False

    def __init__(self, backbone: ResNet2d, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.body = backbone
        self.channels = backbone.channels

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the parts of the backbone by their paths; each exists once."""
        return self.body.stages()

    def forward(self, frames: Tensor) -> Maps:
        """Return C2 to C5 of frames, ``[B, 3, H, W]``."""
        maps: Maps = self.body(frames)
        return maps

    def forward_tasks(
        self, frames: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Maps]:
        """
        Return the maps of each task's own frames.

        :param frames: ``[B, 3, H, W]`` per task; batch sizes may differ and tasks may be absent.
        :param merge: Run all batches of one size in one pass. False keeps one graph per task.
        """
        if not merge or len({batch.shape[1:] for batch in frames.values()}) > 1:
            return {task: self(batch) for task, batch in frames.items()}
        sizes = [len(batch) for batch in frames.values()]
        parts = [maps.split(sizes) for maps in self(torch.cat([*frames.values()]))]
        return {task: [part[i] for part in parts] for i, task in enumerate(frames)}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that the losses of more than one task can reach."""
        return [p for p in self.parameters() if p.requires_grad] if len(self.tasks) > 1 else []

    def rate_multipliers(self) -> list[tuple[nn.Parameter, float]]:
        """Return nothing: no parameter has a learning rate of its own."""
        return []

    def set_progress(self, progress: float) -> None:
        """Do nothing: the trunk is the same throughout."""

    def regularisation(self) -> Tensor | None:
        """Return nothing to add to the loss."""
        return None

    def structure(self) -> dict[str, dict[str, list[float]]]:
        """Return nothing: there is nothing to learn about sharing."""
        return {}

    def deploy(self) -> FrameTrunk:
        """Return an independent copy that only infers: evaluation mode, batch norms folded."""
        trunk = copy.deepcopy(self).eval()
        trunk.body.deploy()
        return trunk.requires_grad_(False)
