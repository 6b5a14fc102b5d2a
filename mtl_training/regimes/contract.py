"""The contract of every regime: how the tasks take turns, and what each is asked to fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mtl_training.data.sample import ClipBatch
from mtl_training.weighting.contract import TaskLoss
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

# Clips per task -> logits per task, [S * B, C], through the network and its preprocessing; S is 1
# unless a sharing method samples its structure in training.
Forward = Callable[[Mapping[str, ClipBatch]], dict[str, Tensor]]


class Regime(nn.Module):
    """
    Decide which tasks an iteration trains and turn their batches into losses.

    State is that of ``nn.Module`` and survives a resume.

    :param tasks: The names of all tasks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def tasks_at(self, iteration: int) -> Sequence[str]:
        """Return the tasks that an iteration trains; a function of the iteration alone."""
        return self.tasks

    def losses(
        self, forward: Forward, batches: Mapping[str, ClipBatch]
    ) -> tuple[dict[str, TaskLoss], dict[str, Tensor]]:
        """
        Return the losses of the tasks present, and their logits.

        :param forward: Runs the network on the clips of every task.
        :param batches: The batches of the iteration; absent tasks are absent from the result.
        """
        raise NotImplementedError


def sample_losses(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """
    Return the cross-entropy of every clip in every sample of the network's structure.

    :param logits: ``[S * B, C]``.
    :param labels: ``[B]``.
    :return: ``[S, B]``, float32.
    """
    repeated = labels.repeat(len(logits) // len(labels))
    losses = cross_entropy(
        logits.float(), repeated, reduction='none', label_smoothing=label_smoothing
    )
    return losses.view(-1, len(labels))
