"""One training step: from the batches of an iteration to an update, or to a skipped one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import math

from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_training.data.sample import Batch, ClipBatch
from mtl_training.inputs import TaskInputs
from mtl_training.passes import Passes
from mtl_training.processes import (
    average_gradients,
    mean_over_processes,
    rows_of_all_processes,
)
from mtl_training.regimes import Regime
from mtl_training.weighting import NotFiniteError, StepContext, TaskLoss, Weighting
import torch
from torch import nn, Tensor

Batches = Mapping[str, Batch]
# Elements of a weighting's state that is put back after a skipped step. What is larger, such as
# averages of gradients, a weighting changes only once it knows that the gradients are finite.
SMALL_STATE = 4096


class DivergedError(ValueError):
    """Training that can't go on because nothing finite comes out any more."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What an iteration reports."""

    loss: dict[str, float] = field(default_factory=dict)
    fit: dict[str, float] = field(default_factory=dict)  # accuracy, or what stands for it
    skipped: bool = False


class TrainingStep:
    """
    Run the network on the batches of an iteration and update it.

    A loss or gradient that is not finite skips the update: nothing changes, but it is counted.
    With several processes each has its share of every batch, and all of them do the same step:
    that of one process with all samples.

    :param merge: Run the batches of all tasks through what they share in one pass.
    :param iterations: Of the whole run.
    """

    patience = 200  # skipped steps in a row that mean the training has diverged

    def __init__(
        self,
        fabric: Fabric,
        network: MultiTaskNetwork,
        optimiser: _FabricOptimizer,
        *,
        inputs: TaskInputs,
        regime: Regime,
        weighting: Weighting,
        clip_norm: float | None,
        merge: bool,
        iterations: int,
    ) -> None:
        self._fabric, self._network, self._optimiser = fabric, network, optimiser
        self._inputs, self._regime, self._weighting = inputs, regime, weighting
        self.clip_norm = clip_norm
        self._iterations = iterations
        self._scaler = getattr(fabric.strategy.precision, 'scaler', None)  # of 16-mixed
        self._searches = any(method.searches for method in network.sharing_methods)
        self.refresh()
        self._ahead: tuple[Batches | None, Batches] = (None, {})  # as given, and on the device
        self._skipped_in_a_row = 0
        self._passes = Passes(network, inputs, fabric.autocast, merge=merge)

    def refresh(self) -> None:
        """Take note of which parameters are trained, after a change of it."""
        self._shared = tuple(
            parameter
            for method in self._network.sharing_methods
            for parameter in method.shared_parameters()
        )
        self._trained = tuple(p for p in self._network.parameters() if p.requires_grad)
        # Prototypes may be large, and no step changes them.
        banks = [m for m in self._network.modules() if isinstance(m, PrototypeBank)]
        self._fixed = {id(tensor) for bank in banks for tensor in bank.buffers()}

    @property
    def looks_ahead(self) -> bool:
        """Tell whether a step needs the batches of the next one as well."""
        return self._searches or self._weighting.uses_upcoming_batch

    def __call__(
        self, iteration: int, batches: Batches, upcoming: Batches | None = None
    ) -> StepResult:
        """
        Train on the batches of an iteration.

        :param upcoming: The batches of the next one, which the weights have not seen yet: for what
            is to be judged on clips that it was not trained on. Nothing is trained on them here.
        :raises DivergedError: If no step has been finite for long.
        """
        batches, ahead = self._on_device(batches, upcoming)
        for method in self._network.sharing_methods:
            method.set_progress(iteration / max(1, self._iterations))
        # What a step that is skipped must not change: what has been searched, the statistics of
        # norms, histories of losses.
        state = [(tensor, tensor.clone()) for tensor in self._state()]
        if self._searches:
            self._search(ahead)
        draws = torch.get_rng_state()
        losses, outputs = self._regime.losses(self._passes, batches)
        losses, means = _joined(losses)
        finite = bool(torch.isfinite(means).all())
        if finite:
            finite = self._train(losses, self._context(iteration, ahead))
        if not finite:
            with torch.no_grad():
                for tensor, before in state:
                    tensor.copy_(before)
        elif self._weighting.uses_losses_after:
            self._weighting.after_step(self._losses_again(batches, draws))
        self._count(finite)
        return StepResult(
            loss=dict(zip(losses, means.tolist())),
            fit=_joined_figures(self._regime.fits(outputs, batches)),
            skipped=not finite,
        )

    def _on_device(self, batches: Batches, upcoming: Batches | None) -> tuple[Batches, Batches]:
        """Return both on the device; the batches are mostly what was upcoming a step ago."""
        device, (given, moved) = self._fabric.device, self._ahead
        if given is not batches:
            moved = {task: batch.to(device) for task, batch in batches.items()}
        ahead = {task: batch.to(device) for task, batch in (upcoming or {}).items()}
        self._ahead = (upcoming, ahead)
        return moved, ahead

    def _state(self) -> Iterator[Tensor]:
        yield from (t for t in self._network.buffers() if id(t) not in self._fixed)
        for tensor in (*self._weighting.buffers(), *self._weighting.parameters()):
            if tensor.numel() <= SMALL_STATE:
                yield tensor.detach()

    def _context(self, iteration: int, ahead: Batches) -> StepContext:
        return StepContext(
            backward=self._fabric.backward,
            shared_parameters=self._shared,
            parameters=self._trained,
            iteration=iteration,
            iterations=self._iterations,
            learning_rate=float(self._optimiser.param_groups[0]['lr']),
            loss_scale=self._loss_scale(),
            reduce=mean_over_processes,
            gather=rows_of_all_processes,
            upcoming_losses=lambda: self._losses_of(ahead),
        )

    def _loss_scale(self) -> float:
        return float(self._scaler.get_scale()) if self._scaler is not None else 1.0

    def _train(self, losses: dict[str, TaskLoss], context: StepContext) -> bool:
        """Do the backward pass and the update; return whether all of it was finite."""
        self._optimiser.zero_grad()
        extra = self._gradients_of_regularisation()
        try:
            self._weighting.backward(losses, context)
        except NotFiniteError:
            if self._scaler is not None:
                # The loss scaler must see the overflow, in every process: it skips the step and
                # scales less.
                self._average_gradients()
                self._update()
            return False
        for parameter, gradient in extra:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        self._average_gradients()
        return self._update()

    def _average_gradients(self) -> None:
        average_gradients(p for group in self._optimiser.param_groups for p in group['params'])

    def _gradients_of_regularisation(self) -> list[tuple[nn.Parameter, Tensor]]:
        all_terms = [method.regularisation() for method in self._network.sharing_methods]
        terms = [term for term in all_terms if term is not None]
        if not terms:
            return []
        # Apart from the tasks' gradients, which a weighting may want to itself. A term may share
        # its graph with them.
        self._fabric.backward(torch.stack(terms).sum(), retain_graph=True)
        found = [(p, p.grad) for p in self._trained if p.grad is not None]
        self._optimiser.zero_grad()
        return found

    def _update(self) -> bool:
        norm = self._fabric.clip_gradients(
            self._network,
            self._optimiser,
            max_norm=self.clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        finite = norm is None or bool(torch.isfinite(norm))
        # In 16-mixed the loss scaler must see the overflow: it skips the step and scales less.
        if finite or self._scaler is not None:
            self._optimiser.step()
        return finite

    # -- Passes that train nothing -------------------------------------------------------------

    def _search(self, batches: Batches) -> None:
        weights = self._weighting.weights()

        def losses(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
            means = {
                task: criterion(values, clips[task]).mean(1) * weights.get(task, 1.0)
                for task, values in logits.items()
                for criterion in [self._regime.criteria[task]]
            }
            return {task: mean_over_processes(values) for task, values in means.items()}

        # Only the trunks of clips have anything to search.
        clips = {task: batch for task, batch in batches.items() if isinstance(batch, ClipBatch)}
        inputs = self._inputs(clips)
        with torch.no_grad(), self._fabric.autocast():
            self._network.search(inputs, losses)

    def _losses_of(self, batches: Batches) -> dict[str, TaskLoss]:
        with self._buffers_kept():
            losses, _ = self._regime.losses(self._passes, batches)
        return _joined(losses)[0]

    def _losses_again(self, batches: Batches, draws: Tensor) -> dict[str, Tensor]:
        """Return the losses of the structure that was drawn for the step, after the update."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(draws)
            return {task: loss.mean() for task, loss in self._losses_of(batches).items()}

    @contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """Let passes within move copies of the buffers: their graphs may outlive this block."""
        kept = [(m, dict(m._buffers)) for m in self._network.modules() if m._buffers]
        for module, buffers in kept:
            for name, buffer in buffers.items():
                module._buffers[name] = None if buffer is None else buffer.clone()
        try:
            yield
        finally:
            for module, buffers in kept:
                module._buffers.update(buffers)

    def _count(self, finite: bool) -> None:
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self.patience:
            raise DivergedError(
                f'the last {self.patience} steps had a loss or gradient that is not finite: '
                'the training has diverged; a lower optimiser.lr or optimiser.clip_norm helps.'
            )


def _joined(losses: Mapping[str, TaskLoss]) -> tuple[dict[str, TaskLoss], Tensor]:
    """Return the losses with what their means lack to those of all processes, and these means."""
    if not losses:
        return {}, torch.zeros(0)
    own = torch.stack([loss.values.detach().mean() for loss in losses.values()])
    means = mean_over_processes(own)
    offsets = (means - own).unbind()
    joined = {
        task: replace(loss, offset=offset) for (task, loss), offset in zip(losses.items(), offsets)
    }
    return joined, means


def _joined_figures(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the means of figures over all processes."""
    if not figures:
        return {}
    means = mean_over_processes(torch.stack([figure.float() for figure in figures.values()]))
    return dict(zip(figures, means.tolist()))


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Return the number of parameters of a module, or of those that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)
