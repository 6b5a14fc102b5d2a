"""Instance-level task parameters: every training sample has a weight of its own in every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

from mtl_training.weighting.contract import Losses, StepContext, TaskLoss, Weighting
import torch
from torch import nn, Tensor

DEVICES = ('auto', 'cpu')


class InstanceLevelWeighting(Weighting):
    """
    A learned log-variance per sample and task, which finds wrong labels (Vasu et al., 2021).

    A sample with log-variance ``s`` and loss ``l`` adds ``l * exp(-s) + s`` to a classification
    task (eq. 4, which lacks the minus sign of its log-likelihood in print and would have no
    minimum) and ``0.5 * l * exp(-s) + s`` to a regression task (eq. 2), so that ``exp(s)`` tends
    to the loss of the sample, or to half of it. What the network can't explain counts less and
    less, and ends at the top of :meth:`log_variances`. The network's gradient of each sample is
    scaled by its ``exp(-s)`` as published: the weights do not sum to the number of tasks.

    The tables are no parameters: they follow sparse SGD with momentum, in closed form, in which
    only the rows of the batch move. Their gradient has the ``1 / B`` of the batch's mean. They
    move once the gradients of all tasks are finite in all processes. Should the step be skipped
    for what comes later (a regularisation that is not finite), it puts back small tables, of at
    most 4096 samples; larger ones keep the move.

    A visit moves a row by ``table_rate / B`` times ``1 - l * exp(-s)``, and momentum by up to ten
    times that. On blobs of which 40 % have a wrong class, every rate from 1 to 16 found the same
    share at B = 16 and 30 visits per sample, to within two points; with 0.25 and less the tables
    lag behind a network that learns by heart, and find up to three points fewer. More visits do
    not help such a network: 60 found four to six points fewer than 30, whatever the rate. Stop
    early or augment.

    :param tasks: The names of all tasks.
    :param table_rate: Learning rate of the tables.
    :param momentum: Of the tables, in [0, 1).
    :param bound: Log-variances are kept in [-bound, bound].
    :param exact_nll: Regression with ``0.5 * s``, the Gaussian likelihood, instead of ``s``.
    :param device: Where the tables are: auto, with the losses; cpu, in the host's memory, from
        which only the rows of a batch travel.
    """

    needs_positive_losses = True

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        table_rate: float = 2.0,
        momentum: float = 0.9,
        bound: float = 4.0,
        exact_nll: bool = False,
        device: str = 'auto',
    ) -> None:
        super().__init__(tasks)
        # Written so that NaN is refused too.
        if not 0 < table_rate < math.inf:
            raise ValueError(f'table_rate must be positive and finite, got {table_rate}.')
        if not 0 <= momentum < 1:
            raise ValueError(f'momentum must lie in [0, 1), got {momentum}.')
        # exp(-s) and its product with a loss stay far from the limits of float32.
        if not 0 < bound <= 20:
            raise ValueError(f'bound must lie in (0, 20], got {bound}.')
        if device not in DEVICES:
            raise ValueError(f'device must be one of {DEVICES}, got {device!r}.')
        self._rate, self._momentum, self._bound = table_rate, momentum, bound
        self._exact_nll, self._on_host = exact_nll, device == 'cpu'
        self.tables = nn.ModuleDict()
        self.scales: Tensor  # float32 [tasks], the mean exp(-s) of the last batch of each
        self.register_buffer('scales', torch.ones(len(self.tasks)))

    def prepare(self, num_samples: Mapping[str, int]) -> None:
        """Make the tables, all zero, one row per training sample; tasks may go without data."""
        for task in self.tasks:
            if task in num_samples:
                self.tables[task] = SampleTable(num_samples[task], on_host=self._on_host)

    def log_variances(self, task: str) -> Tensor:
        """Return the log-variances of all training samples of a task, ``[N]``."""
        return self._table(task).log_variances

    def combine(self, losses: Losses) -> Tensor:
        """Return the sum over the tasks of the mean over their samples, with the tables fixed."""
        return torch.stack([self._mean(task, loss) for task, loss in losses.items()]).sum()

    def backward(self, losses: Losses, context: StepContext) -> None:
        """Do the backward pass, then move the rows of the batch, unless it was not finite."""
        context.backward(self.combine(losses))
        if not _is_finite(context):
            return
        for task, loss in losses.items():
            # Every process makes the update of the whole batch: the tables stay the same in all.
            values, indices = context.gather(loss.values.detach()), context.gather(loss.indices)
            table = self._table(task)
            log_variances = table.read(indices, values)
            self.scales[self.tasks.index(task)] = (-log_variances).exp().mean()
            gradients = self._gradients(values, log_variances, loss.kind)
            table.step(indices, gradients, self._rate, self._momentum, self._bound)

    def weights(self) -> dict[str, float]:
        """Return the mean ``exp(-s)`` of the last batch of each task, 1 before its first."""
        return dict(zip(self.tasks, self.scales.tolist()))

    def _table(self, task: str) -> SampleTable:
        if task not in self.tables:
            raise ValueError(
                f"instance_level does not know the number of training samples of task '{task}': "
                'prepare() comes first.'
            )
        table = self.tables[task]
        assert isinstance(table, SampleTable)
        return table

    def _mean(self, task: str, loss: TaskLoss) -> Tensor:
        log_variances = self._table(task).read(loss.indices, loss.values)
        scale, penalty = self._form(loss.kind)
        # The weights are fixed here: linear in the losses, and so right in several processes.
        return (scale * loss.values * (-log_variances).exp() + penalty * log_variances).mean()

    def _gradients(self, losses: Tensor, log_variances: Tensor, kind: str) -> Tensor:
        scale, penalty = self._form(kind)
        return (penalty - scale * losses * (-log_variances).exp()) / len(losses)

    def _form(self, kind: str) -> tuple[float, float]:
        """Return the factors of ``l * exp(-s)`` and of ``s``."""
        if kind == 'regression':
            return 0.5, 0.5 if self._exact_nll else 1.0
        return 1.0, 1.0


class SampleTable(nn.Module):
    """
    A log-variance per sample and its momentum, updated row by row.

    :param num_samples: Rows.
    :param on_host: Stay in the host's memory, wherever the module is sent.
    """

    log_variances: Tensor  # float32 [N]
    velocities: Tensor  # float32 [N]

    def __init__(self, num_samples: int, *, on_host: bool = False) -> None:
        super().__init__()
        self._on_host = on_host
        for name in ('log_variances', 'velocities'):
            self.register_buffer(name, torch.zeros(num_samples, dtype=torch.float32))

    def read(self, indices: Tensor, like: Tensor) -> Tensor:
        """Return the rows of some samples, ``[B]``, on the device of ``like``."""
        if not self._on_host and self.log_variances.device != like.device:
            self.to(like.device)
        rows = self.log_variances[indices.to(self.log_variances.device)]
        return rows.to(like.device)

    @torch.no_grad()
    def step(
        self, indices: Tensor, gradients: Tensor, rate: float, momentum: float, bound: float
    ) -> None:
        """
        Take one step of sparse SGD: the rows of all other samples stay as they are.

        A sample that is there twice moves once, by the sum of its gradients.

        :param indices: int64 ``[B]``.
        :param gradients: ``[B]``.
        """
        gradients = gradients.to(self.log_variances)
        rows, places = indices.to(gradients.device).unique(return_inverse=True)
        summed = gradients.new_zeros(len(rows)).index_add_(0, places, gradients)
        velocities = momentum * self.velocities[rows] + summed
        moved = self.log_variances[rows] - rate * velocities
        self.velocities[rows] = velocities
        # A projection after the step: clamping the value in the loss would stop its gradient.
        self.log_variances[rows] = moved.clamp(-bound, bound)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SampleTable:
        # What .to(), .cuda() and the like end in.
        return self if self._on_host else super()._apply(fn, recurse)


def _is_finite(context: StepContext) -> bool:
    """Tell whether the gradients of the network are finite in all processes."""
    gradients = [p.grad for p in context.parameters if p.grad is not None]
    if not gradients:
        return True
    finite = torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all()
    return bool(context.reduce(finite.float()) == 1)
