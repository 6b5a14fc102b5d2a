"""What the gradient weightings have in common."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.weighting.contract import Losses, StepContext, Weighting
from mtl_training.weighting.gradients import set_gradient, task_gradients
from mtl_training.weighting.gramian import gramian
import torch
from torch import Tensor

_MAX_WEIGHT = 1e18


class GradientWeighting(Weighting):
    """
    Combine the gradients of the tasks, each of which comes from a graph of its own.

    What only one task reaches keeps the plain gradient of its loss. A method implements
    :meth:`aggregate`, which is called with finite gradients only, and so may change state.

    :param tasks: The names of all tasks.
    """

    separate_graphs = True

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.last_weights: Tensor
        self.register_buffer('last_weights', torch.ones(len(self.tasks)))

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """
        Combine the gradients of the tasks that are present.

        :param rows: ``[K, P]`` float32, finite.
        :param index: int64 ``[K]`` on the CPU, their places among all tasks.
        :return: The gradient, ``[P]``, and the weights, float64 ``[K]`` on the CPU.
        """
        raise NotImplementedError

    def backward(self, losses: Losses, context: StepContext) -> None:
        """Leave the combined gradient in ``.grad``, scaled by ``context.loss_scale``."""
        if not losses:
            return
        rows = task_gradients(losses, context)
        index = torch.tensor([self.tasks.index(task) for task in losses])
        gradient, weights = self.aggregate(rows, index, losses, context)
        put(self.last_weights, index, weights)
        set_gradient(gradient, context)

    def weights(self) -> dict[str, float]:
        """Return the weight that each task had when it was last present."""
        return dict(zip(self.tasks, self.last_weights.tolist()))


class GramianWeighting(GradientWeighting):
    """
    Weigh the gradients of the tasks by what their inner products tell.

    A method implements :meth:`solve`. It never sees a gradient of zero, which no weight changes
    and which would make many a method stop all other tasks: such a task has weight 1. So has a
    task that is alone, and so have all where a method finds nothing but zeros.

    :param tasks: The names of all tasks.
    :param normalise: Scale the weights so that they sum to the number of tasks present. This is
        no statement about the length of the gradient: where weights go with ``1 / |g|``, a task
        with a small gradient makes the whole step small.
    """

    # How the published weights w(G) scale: w(s G) = s ** degree * w(G).
    degree = 0.0

    def __init__(self, tasks: Sequence[str], *, normalise: bool = True) -> None:
        super().__init__(tasks)
        self.normalise = normalise

    def solve(self, gram: Tensor, index: Tensor) -> Tensor:
        """
        Return the weights, float64 ``[K]``.

        :param gram: float64 ``[K, K]`` on the CPU, K >= 2, with a mean diagonal of 1.
        :param index: The places of its tasks among all tasks.
        """
        raise NotImplementedError

    def aggregate(
        self, rows: Tensor, index: Tensor, losses: Losses, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the rows, and the weights."""
        weights = self.weigh(gramian(rows), index)
        return weighted_sum(rows, weights), weights

    def weigh(self, gram: Tensor, index: Tensor) -> Tensor:
        """Return the weights of any Gramian, float64 ``[K]``."""
        weights = torch.ones(len(gram), dtype=torch.float64)
        moves = gram.diagonal() > 0
        if int(moves.sum()) < 2:
            return weights
        inner = gram[moves][:, moves]
        # Absolute constants of solvers mean what they were made for at this scale alone.
        scale = float(inner.diagonal().mean())
        solved = self.solve(inner / scale, index[moves])
        if not solved.any():
            return weights
        solved = normalised(solved) if self.normalise else solved * scale**self.degree
        # Gradients so unlike that float32 could not hold their weights.
        weights[moves] = solved.clamp(-_MAX_WEIGHT, _MAX_WEIGHT)
        return weights


def normalised(weights: Tensor) -> Tensor:
    """
    Return weights that sum to their number.

    Signed weights whose sum is not clearly positive stay as they are: no scale would be right.
    """
    total = weights.sum()
    clear = bool(torch.isfinite(total)) and bool(total > 0.1 * weights.abs().sum())
    return weights * (len(weights) / total) if clear else weights


def weighted_sum(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of the rows, each times its weight, without a copy of all rows."""
    total = rows[0] * float(weights[0])
    for row, weight in zip(rows[1:], weights[1:].tolist()):
        total.add_(row, alpha=weight)
    return total


def put(buffer: Tensor, index: Tensor, values: Tensor) -> None:
    """Write values at places of the first dimension, from any device and type."""
    buffer[index.to(buffer.device)] = values.to(buffer)


def check_range(
    name: str, value: float, low: float, high: float = float('inf'), *, open_low: bool = False
) -> float:
    """
    Return a setting as a float.

    :raises ValueError: If it is not in ``[low, high)``, or ``(low, high)`` where so asked.
    """
    inside = (low < value if open_low else low <= value) and value < high
    if isinstance(value, bool) or not inside:
        bracket = '(' if open_low else '['
        raise ValueError(f'{name} must be in {bracket}{low:g}, {high:g}), got {value}.')
    return float(value)
