"""The contract of every weighting: from the losses of the tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn, Tensor


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """The losses of one task's batch in this process."""

    values: Tensor  # [B], one per sample, with their graph
    indices: Tensor  # int64 [B], which samples of the data set they belong to
    kind: str = 'classification'  # or 'regression': squared errors
    offset: Tensor | None = None  # what the mean over all processes is above that of this one

    def mean(self) -> Tensor:
        """
        Return the scalar loss of the task.

        Its value is the mean over all processes, its graph that of this process: once the
        gradients are averaged over the processes, they are those of one process with all samples,
        whatever function of the losses is minimised.
        """
        mean = self.values.mean()
        return mean if self.offset is None else mean + self.offset


Losses = Mapping[str, TaskLoss]


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a weighting needs to do the backward pass."""

    # Scales a loss as the precision asks for and adds the gradients of this process to `.grad`,
    # whose mean over all processes is taken after the step's whole backward pass.
    backward: Callable[[Tensor], object]
    shared_parameters: Sequence[nn.Parameter] = ()  # trained, and reached by more than one task
    parameters: Sequence[nn.Parameter] = ()  # all that the network trains
    iteration: int = 0
    iterations: int = 1  # of the whole run
    learning_rate: float = 0.0
    loss_scale: float = 1.0  # the factor that `backward` puts on a loss, and so on `.grad`
    reduce: Callable[[Tensor], Tensor] = _alone  # the mean over all processes
    gather: Callable[[Tensor], Tensor] = _alone  # the rows of all processes
    # The losses, at the weights as they are when it is called, of a batch that no step has used
    # yet, with fresh graphs. Only where the weighting sets `uses_upcoming_batch`.
    upcoming_losses: Callable[[], dict[str, TaskLoss]] = field(default=dict)


class NotFiniteError(ArithmeticError):
    """Gradients that are not finite: the step is to be skipped."""


class Weighting(nn.Module):
    """
    Decide how much each task counts.

    A loss weighting implements :meth:`combine`. A gradient weighting sets ``separate_graphs`` and
    overrides :meth:`backward`. State is that of ``nn.Module``; parameters with a gradient are
    trained by the run's optimiser. It sees only the tasks that are present in a step, and changes
    no state before it knows that the step is finite.

    :param tasks: The names of all tasks.
    """

    separate_graphs = False  # every task's loss has its own graph, nothing is merged
    uses_upcoming_batch = False  # StepContext.upcoming_losses is there
    uses_losses_after = False  # after_step() is called
    needs_positive_losses = False  # its formula has no sense, or no minimum, with others

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def needs_positive_loss(self, task: str) -> bool:
        """Tell whether the loss of a task must never be negative."""
        return self.needs_positive_losses

    def prepare(self, num_samples: Mapping[str, int]) -> None:
        """Learn the sizes of the training sets, once, before the first step and any resume."""

    def combine(self, losses: Losses) -> Tensor:
        """Return the scalar to minimise."""
        raise NotImplementedError(f'{type(self).__name__} does the backward pass itself.')

    def backward(self, losses: Losses, context: StepContext) -> None:
        """
        Leave the gradients of the step in ``.grad``, scaled by ``context.loss_scale``.

        :raises NotFiniteError: If they are not finite.
        """
        context.backward(self.combine(losses))

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the scalar losses of the same batch after the update, without graphs."""

    def weights(self) -> dict[str, float]:
        """Return the present weight of each task, for the log and for what the tasks search."""
        return dict.fromkeys(self.tasks, 1.0)
