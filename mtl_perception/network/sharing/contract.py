"""What every sharing method offers to the network that holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
import copy

from mtl_perception.network.backbones import StagedBackbone
from mtl_perception.network.folding import fold_batch_norms
from torch import nn, Tensor

MakeTrunk = Callable[[], StagedBackbone]
# From features, [S * B, D] per task, to the mean loss of each of the S samples, [S] per task.
SampleLosses = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class SharingMethod(nn.Module, ABC):
    """
    The owner of one or more copies of a trunk, or of parts of it, and of how tasks share them.

    A subclass takes ``make_trunk`` and ``tasks``, then its own settings as keywords. All its
    tensors belong to its state dict: a checkpoint restores nothing else. Whatever it draws at
    random in training comes from torch's default CPU generator, whose state survives a resume
    and is the same in every process.
    """

    feature_dim: int
    searches = False  # whether :meth:`search` does anything

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f'tasks must be distinct and at least one, got {list(tasks)}.')
        self.tasks = tuple(tasks)

    @abstractmethod
    def copies(self) -> list[tuple[str, nn.Module]]:
        """
        Return every copy of every part of the backbone, for pretrained weights and freezing.

        :return: Pairs of a part's path in the backbone (``layer3``, ``layer3.0``) and the module.
            Together they cover each path of the backbone at least once.
        """

    @abstractmethod
    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """
        Return the features of the same clips for every task.

        :param clips: Normalised clips, ``[B, 3, T, H, W]``.
        :return: ``[B, D]`` per task.
        """

    @abstractmethod
    def forward_task(self, clips: Tensor, task: str) -> Tensor:
        """
        Return the features of clips that belong to one task.

        :return: ``[B, D]``. In training mode a method that samples its structure returns
            ``[S * B, D]``: the features of all clips in its first sample, then in its second, ...
        """

    def forward_tasks(
        self, clips: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Tensor]:
        """
        Return the features of each task's own clips.

        :param clips: ``[B, 3, T, H, W]`` per task; batch sizes may differ and tasks may be absent.
        :param merge: Run batches of one clip shape through shared stages in one pass, where the
            method can: faster, and live batch norms see all tasks. False keeps one graph per
            task, as methods that need per-task gradients do.
        :return: As of :meth:`forward_task`, per task given.
        """
        return {task: self.forward_task(batch, task) for task, batch in clips.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that the losses of more than one task can reach."""
        return [p for p in self.parameters() if p.requires_grad]

    def rate_multipliers(self) -> list[tuple[nn.Parameter, float]]:
        """
        Return the parameters with a learning rate of their own, as a factor of the common one.

        They are what a method adds to the backbone to steer it: weight decay spares them.
        """
        return []

    def set_progress(self, progress: float) -> None:
        """Take note of how far the training is, from 0 to 1, before each of its steps."""

    def regularisation(self) -> Tensor | None:
        """Return what is added to the loss of a step, after its forward pass; None for nothing."""
        return None

    def search(self, clips: Mapping[str, Tensor], losses: SampleLosses) -> None:
        """
        Improve what has no gradient, once per step, on clips that the weights have yet to see.

        :param clips: As for :meth:`forward_tasks`.
        :param losses: The losses are weighted as the tasks are, and the same in every process.
        """

    def structure(self) -> dict[str, dict[str, list[float]]]:
        """
        Return what has been learnt about sharing, for the log and the heat maps of a report.

        :return: For each layer and task its shares of what the task can take there, which sum to
            about 1; nothing for a method with nothing of the kind to learn.
        """
        return {}

    def deploy(self) -> SharingMethod:
        """Return an independent copy that only infers: evaluation mode, batch norms folded."""
        return fold_batch_norms(copy.deepcopy(self).eval()).requires_grad_(False)

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise ValueError(f"Unknown task '{task}'; known tasks: {list(self.tasks)}.")
