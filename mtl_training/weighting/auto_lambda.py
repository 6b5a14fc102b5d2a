"""Auto-Lambda: weights learned on samples that the network has not been trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mtl_training.weighting.contract import Losses, NotFiniteError, StepContext, Weighting
from mtl_training.weighting.scaling import check_positive, mean_losses
from mtl_training.weighting.vector_adam import VectorAdam
import torch
from torch import nn, Tensor

_Gradients = list[Tensor | None]  # one per parameter; None where the loss does not reach it


class AutoLambdaWeighting(Weighting):
    """
    Weights trained on the losses of the next batch after a virtual step (Liu et al., 2022).

    The weights ``w`` of the training losses follow the gradient of the sum of the losses of
    another batch at ``p - rate * d(sum w L)/dp``, one plain step of gradient descent away (eq. 4).
    For weights that only multiply losses that gradient is, with the chain rule and no second
    derivative, ``-rate`` times the product of a task's training gradient with that of the other
    batch. The paper approximates it by finite differences; here it is exact, and two forward
    passes cheaper.

    :param tasks: The names of all tasks.
    :param lr: Learning rate of the weights (Adam).
    :param betas: Adam's decay of the first and of the second moment of their gradient.
    :param initial: The weights at the start; they stay above a hundredth of it.
    :param every: Iterations from one update of the weights to the next.
    :param primary: The tasks whose losses on the other batch count; all by default.
    :param normalise: Scale the weights to a sum of the number of tasks present.
    """

    separate_graphs = True
    uses_upcoming_batch = True

    factors: Tensor  # float32 [tasks], as they are learned
    applied: Tensor  # float32 [tasks], the weights that each task had last

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        lr: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.999),
        initial: float = 0.1,
        every: int = 1,
        primary: Sequence[str] | None = None,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks)
        check_positive(lr=lr, initial=initial)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f'betas must be two numbers in [0, 1), got {betas!r}.')
        if every < 1:
            raise ValueError(f'every must be at least 1, got {every}.')
        self._primary = tuple(self.tasks if primary is None else primary)
        unknown = [task for task in self._primary if task not in self.tasks]
        if unknown or not self._primary:
            raise ValueError(
                f'primary must name at least one of {list(self.tasks)}, got {primary!r}.'
            )
        self._floor, self._every, self._normalise = initial / 100, every, normalise
        self.register_buffer('factors', torch.full((len(self.tasks),), initial))
        self.register_buffer('applied', self._scaled(range(len(self.tasks))))
        self.adam = VectorAdam(len(self.tasks), lr=lr, betas=(betas[0], betas[1]))

    def backward(self, losses: Losses, context: StepContext) -> None:
        """Leave the gradient of the weighted sum; before, move the weights if it is their turn."""
        rows = [self.tasks.index(task) for task in losses]
        if context.iteration % self._every:
            self.applied[rows] = self._scaled(rows)
            context.backward((self.applied[rows] * mean_losses(losses)).sum())
            return
        gradients = [_gradients(loss.mean(), context) for loss in losses.values()]
        self._move(rows, gradients, context)
        self.applied[rows] = self._scaled(rows)
        for parameter, total in zip(
            context.parameters, _weighted_sum(self.applied[rows], gradients)
        ):
            # In the parameter's own memory layout and type, as a backward pass would leave it.
            parameter.grad = (
                None
                if total is None
                else torch.empty_like(parameter).copy_(total * context.loss_scale)
            )

    def weights(self) -> dict[str, float]:
        """Return the weight that each task had last."""
        return dict(zip(self.tasks, self.applied.tolist()))

    def _scaled(self, rows: Sequence[int]) -> Tensor:
        factors = self.factors[list(rows)]
        return factors * (len(factors) / factors.sum()) if self._normalise else factors

    def _move(self, rows: list[int], gradients: list[_Gradients], context: StepContext) -> None:
        step = _weighted_sum(-context.learning_rate * self._scaled(rows), gradients)
        with _moved(context.parameters, step):
            losses = context.upcoming_losses()
            primary = {task: loss for task, loss in losses.items() if task in self._primary}
            if not primary:
                return
            try:
                ahead = _gradients(mean_losses(primary).sum(), context)
            except NotFiniteError:
                return  # of this batch nothing is trained: the step itself may well be finite
        zero = self.factors.new_zeros(())
        products = [_product(gradient, ahead, zero) for gradient in gradients]
        slopes = -context.learning_rate * torch.stack(products)
        if torch.isfinite(slopes).all():
            moved = self.adam.updated(self.factors[rows], slopes, rows)
            self.factors[rows] = moved.clamp(min=self._floor)


def _gradients(loss: Tensor, context: StepContext) -> _Gradients:
    """
    Return the gradients of one loss, means over all processes, without the loss scale.

    :raises NotFiniteError: If an element is not finite; ``.grad`` holds it then.
    """
    for parameter in context.parameters:
        parameter.grad = None
    context.backward(loss)
    reached = [parameter for parameter in context.parameters if parameter.grad is not None]
    if not reached:
        return [None] * len(context.parameters)
    own = torch.cat([p.grad.flatten().float() for p in reached if p.grad is not None])
    flat = context.reduce(own) / context.loss_scale
    if not torch.isfinite(flat).all():
        raise NotFiniteError
    parts = iter(flat.split([parameter.numel() for parameter in reached]))
    return [
        None if parameter.grad is None else next(parts).view_as(parameter)
        for parameter in context.parameters
    ]


def _weighted_sum(factors: Tensor, gradients: list[_Gradients]) -> _Gradients:
    sums: _Gradients = []
    for of_tasks in zip(*gradients):
        terms = [f * g for f, g in zip(factors, of_tasks) if g is not None]
        sums.append(torch.stack(terms).sum(0) if terms else None)
    return sums


def _product(one: _Gradients, other: _Gradients, zero: Tensor) -> Tensor:
    terms = [(a * b).sum() for a, b in zip(one, other) if a is not None and b is not None]
    return torch.stack([zero, *terms]).sum()


@contextmanager
def _moved(parameters: Sequence[nn.Parameter], step: _Gradients) -> Iterator[None]:
    """Move parameters for a while; afterwards they are bitwise what they were."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, change in zip(parameters, step):
                if change is not None:
                    parameter.add_(change)
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, before):
                parameter.copy_(values)
