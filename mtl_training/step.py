"""One training step: from the batches of an iteration to an update, or to a skipped one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
from typing import cast

from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from mtl_training.data.sample import ClipBatch
from mtl_training.evaluation import TaskInputs
from mtl_training.metrics import top1
from mtl_training.regimes import Regime
from mtl_training.weighting import is_finite, StepContext, Weighting
import torch
from torch import nn, Tensor


class DivergedError(ValueError):
    """Training that can't go on because nothing finite comes out any more."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What an iteration reports."""

    loss: dict[str, float] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    skipped: bool = False


class TrainingStep:
    """
    Run the network on the batches of an iteration and update it.

    A loss or gradient that is not finite skips the update: nothing changes, but it is counted.
    """

    patience = 200  # skipped steps in a row that mean the training has diverged

    def __init__(
        self,
        fabric: Fabric,
        network: _FabricModule,
        optimiser: _FabricOptimizer,
        *,
        inputs: TaskInputs,
        regime: Regime,
        weighting: Weighting,
        clip_norm: float | None,
        scaled: bool = False,
    ) -> None:
        self._fabric, self._network, self._optimiser = fabric, network, optimiser
        self._inputs, self._regime, self._weighting = inputs, regime, weighting
        self._clip_norm = clip_norm
        trunks = cast(nn.Module, network.module.trunks)
        self._shared = tuple(trunks.parameters())
        self._scaled = scaled
        self.num_skipped = 0
        self._skipped_in_a_row = 0

    def __call__(self, iteration: int, batches: Mapping[str, ClipBatch]) -> StepResult:
        """
        Train on the batches of an iteration.

        :raises DivergedError: If no step has been finite for long.
        """
        batches = {task: batch.to(self._fabric.device) for task, batch in batches.items()}
        buffers = [buffer.clone() for buffer in self._network.buffers()]
        losses, logits = self._regime.losses(self._forward, batches)
        finite = self._agree(is_finite(losses))
        if finite:
            self._optimiser.zero_grad()
            context = StepContext(
                self._fabric.backward, shared_parameters=self._shared, iteration=iteration
            )
            self._weighting.backward(losses, context)
            finite = self._update()
        if not finite:
            # The forward pass has moved the statistics of the norms already.
            for buffer, before in zip(self._network.buffers(), buffers):
                buffer.copy_(before)
        self._count(finite)
        return StepResult(
            loss={task: float(loss.mean().detach()) for task, loss in losses.items()},
            accuracy=top1(logits, {task: batch.labels for task, batch in batches.items()}),
            skipped=not finite,
        )

    def _forward(self, batches: Mapping[str, ClipBatch]) -> dict[str, Tensor]:
        merge = not self._weighting.separate_graphs
        clips = self._inputs(batches)
        # Fabric's wrapper does this for ``forward`` alone, unless there are several processes.
        with self._fabric.autocast():
            logits: dict[str, Tensor] = self._network.forward_tasks(clips, merge=merge)
        return logits

    def _update(self) -> bool:
        norm = self._fabric.clip_gradients(
            self._network,
            self._optimiser,
            max_norm=self._clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        finite = norm is None or bool(torch.isfinite(norm))
        # In 16-mixed the loss scaler must see the overflow: it skips the step and scales less.
        if finite or self._scaled:
            self._optimiser.step()
        return finite

    def _agree(self, finite: bool) -> bool:
        if self._fabric.world_size == 1:
            return finite
        votes = self._fabric.all_reduce(torch.tensor(float(finite)), reduce_op='sum')
        return float(cast(Tensor, votes)) == self._fabric.world_size

    def _count(self, finite: bool) -> None:
        self.num_skipped += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self.patience:
            raise DivergedError(
                f'the last {self.patience} steps had a loss or gradient that is not finite: '
                'the training has diverged; a lower optimiser.lr or optimiser.clip_norm helps.'
            )


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Return the number of parameters of a module, or of those that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)
