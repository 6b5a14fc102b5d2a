"""The contract of every weighting: from the losses of the tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn, Tensor


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """The losses of one task's batch."""

    values: Tensor  # [B], one per sample, with their graph
    indices: Tensor  # int64 [B], which samples of the data set they belong to
    kind: str = 'classification'

    def mean(self) -> Tensor:
        """Return the scalar loss of the task."""
        return self.values.mean()


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a weighting needs to do the backward pass."""

    backward: Callable[[Tensor], object]  # scales and runs it as the precision asks for
    shared_parameters: Sequence[nn.Parameter] = field(default_factory=tuple)
    iteration: int = 0


class Weighting(nn.Module):
    """
    Decide how much each task counts.

    A loss weighting implements :meth:`combine`. A gradient weighting sets ``separate_graphs`` and
    overrides :meth:`backward`. State and learned parameters are those of ``nn.Module``; it sees
    only the tasks that are present in a step.

    :param tasks: The names of all tasks.
    """

    separate_graphs = False  # True: every task's loss has its own graph, nothing is merged

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def combine(self, losses: Mapping[str, TaskLoss]) -> Tensor:
        """Return the scalar to minimise."""
        raise NotImplementedError(f'{type(self).__name__} does the backward pass itself.')

    def backward(self, losses: Mapping[str, TaskLoss], context: StepContext) -> None:
        """Leave the gradients of the step in ``.grad``."""
        context.backward(self.combine(losses))

    def weights(self) -> dict[str, float]:
        """Return the present weight of each task, for the log."""
        return {}


def is_finite(losses: Mapping[str, TaskLoss]) -> bool:
    """Tell whether every loss is finite: if not, the step is skipped before it does harm."""
    return all(bool(torch.isfinite(loss.values).all()) for loss in losses.values())
