"""What the loss weightings have in common: factors on the mean losses, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from mtl_training.weighting.contract import Losses, Weighting
import torch
from torch import nn, Tensor

# Learned logarithms are kept in [-LOG_BOUND, LOG_BOUND]: losses from 4.5e-5 to 2.2e4 have their
# optimum inside, and no product with a loss leaves float32.
LOG_BOUND = 10.0
# Below it a loss counts as this small wherever one is divided by, or its logarithm taken.
LOSS_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class Present:
    """The tasks of one step."""

    tasks: tuple[str, ...]
    rows: list[int]  # their places among all tasks
    means: Tensor  # float32 [P], their mean losses, without graphs
    kinds: tuple[str, ...]


class LossWeighting(Weighting):
    """
    Multiply the mean loss of each task present by a factor that has no graph.

    A subclass implements :meth:`log_factors`. One that learns parameters also implements
    :meth:`own_objective`, the formula as published with the losses as constants: the parameters
    get its gradient, whatever is done to the factors of the network's losses. The value of
    :meth:`combine` has no meaning then; its gradients have.

    The losses are finite when they come here, so state may be made from them at once.

    :param tasks: The names of all tasks.
    :param normalise: Scale the factors to a sum of the number of tasks present; False leaves them
        as published. A task whose loss is within 1e-8 of 0 is done: it has the factor 1, and the
        others sum to their number, lest it takes all where factors go with ``1 / L``. This fixes
        the sum, not the length of the gradient: there a small loss makes the whole step short.
    """

    applied: Tensor  # float32 [tasks], the factors that each task had last

    def __init__(self, tasks: Sequence[str], *, normalise: bool = True) -> None:
        super().__init__(tasks)
        self._normalise = normalise
        self.register_buffer('applied', torch.ones(len(self.tasks)))

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of the published factors of the tasks present, ``[P]``."""
        raise NotImplementedError

    def own_objective(self, present: Present) -> Tensor | None:
        """Return the scalar that the parameters of the weighting minimise."""
        return None

    def combine(self, losses: Losses) -> Tensor:
        """Return a scalar with the gradient of the weighted sum, and of the own objective."""
        means = mean_losses(losses)
        present = Present(
            tasks=tuple(losses),
            rows=[self.tasks.index(task) for task in losses],
            means=means.detach().float(),
            kinds=tuple(loss.kind for loss in losses.values()),
        )
        with torch.no_grad():
            logs = self.log_factors(present)
            factors = _normalised(logs, present.means) if self._normalise else logs.exp()
            self.applied[present.rows] = factors
        weighted = (factors * means).sum()
        own = self.own_objective(present)
        return weighted if own is None else weighted + own

    def weights(self) -> dict[str, float]:
        """Return the factor that each task had last, 1 before its first step."""
        return dict(zip(self.tasks, self.applied.tolist()))


def mean_losses(losses: Losses) -> Tensor:
    """Return the mean losses of the tasks as one vector, ``[P]``, with their graphs."""
    return torch.stack([loss.mean() for loss in losses.values()])


def _normalised(logs: Tensor, means: Tensor) -> Tensor:
    """Return factors of given logarithms that sum to their number, and 1 for losses of nothing."""
    done = means.abs() <= LOSS_FLOOR  # one below 0 has a way to go
    # The softmax survives factors that would overflow by themselves; NaN if all are done.
    scaled = (~done).sum() * logs.masked_fill(done, -math.inf).softmax(0)
    return torch.where(done, 1.0, scaled)


class TaskLogarithms(nn.Module):
    """
    A learned logarithm per task, 0 at the start.

    Each is a parameter of its own, which has no gradient while its task is absent: an element
    of a common vector would have a gradient of zero, and move on with the optimiser's momentum.

    :param tasks: The names of all tasks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        for task in tasks:
            self.register_parameter(task, nn.Parameter(torch.zeros(())))

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """
        Return the logarithms of some tasks, ``[P]``, after putting them back into their bounds.

        Without bounds a task whose loss stays zero would drive its factor to infinity. Clamping
        the value in the objective instead would stop its gradient, and so the way back.
        """
        own: list[Tensor] = [self.get_parameter(task) for task in tasks]
        with torch.no_grad():
            for logarithm in own:
                logarithm.clamp_(-LOG_BOUND, LOG_BOUND)
        return torch.stack(own)


def check_positive(**settings: float) -> None:
    """
    Check settings.

    :raises ValueError: If one of them is not positive and finite.
    """
    for name, value in settings.items():
        # Written so that NaN is refused too.
        if not 0 < value < math.inf:
            raise ValueError(f'{name} must be positive and finite, got {value}.')
