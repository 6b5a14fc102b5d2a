"""
A convex problem with shared and private parameters, and training steps on it, for all weightings.

Tests get this module from the fixture ``toy``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
import copy
from dataclasses import dataclass

from mtl_training.weighting import Losses, StepContext, TaskLoss, Weighting
import torch
from torch import nn, Tensor

NUM_SAMPLES = 8


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass
class Process:
    """One of the processes that train together; each has its share of every batch."""

    rank: int = 0
    world: int = 1
    reduce: Callable[[Tensor], Tensor] = _alone
    gather: Callable[[Tensor], Tensor] = _alone


class Problem(nn.Module):
    """
    Regress linear functions, one per task, of which a part is common to all tasks.

    :param tasks: The names of the tasks; each has its own samples.
    :param scales: Factors on the losses of tasks; those not named have 1.
    :param width: Inputs of the linear functions.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        scales: Mapping[str, float] | None = None,
        seed: int = 0,
        width: int = 3,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        common = torch.randn(width, generator=generator)
        self.shared = nn.ParameterList([torch.zeros(2, width), torch.zeros(2)])
        self.private = nn.ParameterDict({task: torch.zeros(width) for task in tasks})
        self.scales = dict.fromkeys(tasks, 1.0) | dict(scales or {})
        self.heads = {task: torch.randn(2, generator=generator) for task in tasks}
        self.inputs = {
            task: torch.randn(2 * NUM_SAMPLES, width, generator=generator) for task in tasks
        }
        self.targets = {}
        for task, x in self.inputs.items():
            own = 0.3 * torch.randn(width, generator=generator)
            noise = 0.1 * torch.randn(len(x), generator=generator)
            self.targets[task] = x @ (common + own) + 1 + noise

    def losses(
        self,
        tasks: Sequence[str] | None = None,
        *,
        merge: bool = False,
        upcoming: bool = False,
        process: Process | None = None,
    ) -> dict[str, TaskLoss]:
        """
        Return the squared errors of the samples, from fresh graphs.

        :param tasks: Those that are present; all by default.
        :param merge: Let all losses run through one common graph, which only one backward pass
            survives, as a network does that merges the batches.
        :param upcoming: Of other samples than those of the training step.
        """
        process = process or Process()
        common = [parameter * 1 for parameter in self.shared]
        losses = {}
        for task in self.scales if tasks is None else tasks:
            weight, bias = common if merge else self.shared
            first = NUM_SAMPLES * upcoming
            rows = torch.arange(first, first + NUM_SAMPLES)
            x = self.inputs[task][rows]
            output = (x @ weight.T + bias) @ self.heads[task] + x @ self.private[task]
            values = self.scales[task] * (output - self.targets[task][rows]) ** 2
            mine = values[process.rank :: process.world]
            offset = None if process.world == 1 else (values.mean() - mine.mean()).detach()
            indices = rows[process.rank :: process.world] % NUM_SAMPLES
            losses[task] = TaskLoss(mine, indices, kind='regression', offset=offset)
        return losses

    def total(self) -> float:
        """Return the sum of the mean losses."""
        with torch.no_grad():
            return float(sum(loss.mean() for loss in self.losses().values()))


def prepare(weighting: Weighting, num_samples: int = NUM_SAMPLES) -> Weighting:
    """Tell a weighting the sizes of the training sets, as the trainer does."""
    weighting.prepare(dict.fromkeys(weighting.tasks, num_samples))
    return weighting


def make_context(
    problem: Problem,
    weighting: Weighting,
    *,
    tasks: Sequence[str] | None = None,
    iteration: int = 0,
    loss_scale: float = 1.0,
    learning_rate: float = 0.1,
    process: Process | None = None,
) -> StepContext:
    """Return what a training step offers."""
    process = process or Process()
    merge = not weighting.separate_graphs

    def upcoming_losses() -> dict[str, TaskLoss]:
        assert weighting.uses_upcoming_batch
        return problem.losses(tasks, merge=merge, upcoming=True, process=process)

    return StepContext(
        lambda loss: (loss * loss_scale).backward(),
        shared_parameters=tuple(problem.shared),
        parameters=tuple(problem.parameters()),
        iteration=iteration,
        iterations=100,
        learning_rate=learning_rate,
        loss_scale=loss_scale,
        reduce=process.reduce,
        gather=process.gather,
        upcoming_losses=upcoming_losses,
    )


def backward(
    problem: Problem,
    weighting: Weighting,
    *,
    tasks: Sequence[str] | None = None,
    process: Process | None = None,
    losses: Losses | None = None,
    **settings: float,
) -> None:
    """Do the backward pass of a step: `.grad` is the mean over the processes, not scaled."""
    process = process or Process()
    for parameter in (*problem.parameters(), *weighting.parameters()):
        parameter.grad = None
    context = make_context(problem, weighting, tasks=tasks, process=process, **settings)
    if losses is None:
        losses = problem.losses(tasks, merge=not weighting.separate_graphs, process=process)
    weighting.backward(losses, context)
    reached = [
        parameter
        for parameter in (*problem.parameters(), *weighting.parameters())
        if parameter.grad is not None
    ]
    flat = process.reduce(torch.cat([parameter.grad.flatten() for parameter in reached]))
    parts = flat.split([parameter.numel() for parameter in reached])
    for parameter, part in zip(reached, parts):
        parameter.grad = part.view_as(parameter) / context.loss_scale


def train(
    problem: Problem,
    weighting: Weighting,
    optimiser: torch.optim.Optimizer,
    steps: Sequence[int],
    *,
    tasks: Sequence[str] | None = None,
    process: Process | None = None,
    **settings: float,
) -> None:
    """Run the training steps of the given numbers."""
    process = process or Process()
    for iteration in steps:
        backward(problem, weighting, tasks=tasks, process=process, iteration=iteration, **settings)
        optimiser.step()
        if weighting.uses_losses_after:
            with torch.no_grad():
                after = problem.losses(tasks, process=process)
                weighting.after_step({task: loss.mean() for task, loss in after.items()})


def make_optimiser(problem: Problem, weighting: Weighting, lr: float = 0.1) -> torch.optim.Adam:
    """Return an optimiser of the problem and of what the weighting learns."""
    return torch.optim.Adam([*problem.parameters(), *weighting.parameters()], lr=lr)


def gradient(problem: Problem) -> Tensor:
    """Return the gradient of all parameters of the problem as one vector; none is zero."""
    return torch.cat(
        [
            torch.zeros(p.numel()) if p.grad is None else p.grad.flatten()
            for p in problem.parameters()
        ]
    )


def factors(weighting: Weighting, values: Mapping[str, float], kind: str = 'regression') -> Tensor:
    """Return the derivatives by the tasks' losses of what a loss weighting minimises, ``[P]``."""
    leaves = {task: torch.tensor([value], requires_grad=True) for task, value in values.items()}
    losses = {task: TaskLoss(v, torch.tensor([0]), kind) for task, v in leaves.items()}
    weighting.combine(losses).backward()
    return torch.cat([leaf.grad for leaf in leaves.values()])


def set_logarithms(logarithms: nn.Module, values: Tensor) -> None:
    """Set what a weighting learns of each task, in the order of the tasks."""
    for parameter, value in zip(logarithms.parameters(), values, strict=True):
        parameter.data.copy_(value)


def logarithms_of(module: nn.Module) -> Tensor:
    """Return what a weighting learns of each task, ``[T]``."""
    return torch.stack([parameter.detach() for parameter in module.parameters()])


def gradients_of(module: nn.Module) -> Tensor:
    """Return the gradients of what a weighting learns of each task, ``[T]``."""
    return torch.stack([parameter.grad for parameter in module.parameters()])


def settle(weighting: Weighting, values: Mapping[str, float], steps: int = 2000) -> None:
    """Let the parameters of a weighting follow gradient descent at constant losses."""
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        factors(weighting, values)
        optimiser.step()


class _AskedError(Exception):
    """A process waits for the others."""


def run_processes(world: int, run: Callable[[Process], object]) -> list[object]:
    """
    Run the same function as several processes that exchange tensors.

    They run one after the other. One that needs the tensors of the others is stopped, and run
    again from its start once they are known; so ``run`` must build all that it changes. Each
    starts from the same state of the random generator.

    :return: What each process returned.
    """
    before = torch.get_rng_state()
    exchanged: list[list[Tensor]] = []
    while True:
        results, asked = [], []
        for rank in range(world):
            torch.set_rng_state(before)
            replay = iter(copy.deepcopy(exchanged))

            def exchange(values: Tensor, replay=replay, asked=asked) -> list[Tensor]:
                known = next(replay, None)
                if known is None:
                    asked.append(values.detach().clone())
                    raise _AskedError
                return known

            process = Process(
                rank,
                world,
                reduce=lambda values, exchange=exchange: torch.stack(exchange(values)).mean(0),
                gather=lambda values, exchange=exchange: torch.cat(exchange(values)),
            )
            with suppress(_AskedError):
                results.append(run(process))
        if not asked:
            return results
        assert len(asked) == world, 'only some of the processes exchange tensors here'
        exchanged.append(asked)
