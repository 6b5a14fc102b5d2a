"""What methods with gated experts have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import (
    block_shapes,
    parameters_without,
    split_names,
    stage_of,
    Stages,
    take_stages,
)
import torch
from torch import nn, Tensor


class Gate(nn.Linear):
    """
    The softmax of a linear function of an input's summary: one weight per candidate.

    It starts at random, for experts that start from the same pretrained weights differ by
    nothing but what their gates make of them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights of ``[B, D]``, ``[B, N]``, which sum to 1."""
        return super().forward(x).softmax(1)


class ExpertSharing(RowSharing):
    """
    A trunk shared up to some stage, followed by experts: copies of its other stages.

    Gates read a summary of what enters the experts: the pooled output of the stage before. Where
    the experts are whole trunks it is the mean and the standard deviation of the clip over time
    and space, per channel; the mean alone is always zero for clips without their mean over time.
    """

    def __init__(
        self, make_trunk: MakeTrunk, tasks: Sequence[str], private_stages: Sequence[str] | None
    ) -> None:
        super().__init__(tasks)
        trunk = make_trunk()
        shared, self.private_stages = split_names(trunk, private_stages)
        self.shared = take_stages(trunk, shared)
        self.feature_dim = trunk.feature_dim
        self._pool = trunk.pool
        channels = {stage_of(block): shape[0] for block, shape in block_shapes(trunk).items()}
        self._stage_dims = channels  # the length of the summary of each stage's output
        self._input_dim = channels[shared[-1]] if shared else 6

    def gate_modules(self) -> list[nn.Module]:
        """Return all gates."""
        raise NotImplementedError

    def own_modules(self) -> list[nn.Module]:
        """Return the modules that the loss of no more than one task can reach."""
        raise NotImplementedError

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return all trained parameters but those of each task's own modules."""
        return parameters_without(self, self.own_modules())

    def rate_multipliers(self) -> list[tuple[nn.Parameter, float]]:
        """Return the parameters of the gates at the common rate: weight decay spares them."""
        return [(p, 1.0) for gate in self.gate_modules() for p in gate.parameters()]

    def _summary(self, clips: Tensor, x: Tensor) -> Tensor:
        if len(self.shared):
            return self._pool(x)
        flat = clips.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2, correction=0)], 1)


class GatedExperts(ExpertSharing):
    """Experts of all tasks and experts of each task, mixed by one gate per task."""

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        private_stages: Sequence[str] | None,
        *,
        num_shared: int,
        num_own: int,
    ) -> None:
        super().__init__(make_trunk, tasks, private_stages)
        self.shared_experts = make_experts(make_trunk, self.private_stages, num_shared)
        self.task_experts = nn.ModuleDict(
            {task: make_experts(make_trunk, self.private_stages, num_own) for task in tasks}
        )
        self.gates = nn.ModuleDict(
            {task: self._make_gate(self._input_dim, num_own + num_shared) for task in tasks}
        )

    def _make_gate(self, input_dim: int, num_candidates: int) -> nn.Module:
        return Gate(input_dim, num_candidates)

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then those of every expert."""
        own = [expert for task in self.tasks for expert in self._own_experts(task)]
        parts = [self.shared, *self.shared_experts, *own]
        return [stage for part in parts for stage in cast(Stages, part).items()]

    def gate_modules(self) -> list[nn.Module]:
        """Return the gates, one per task."""
        return list(self.gates.values())

    def own_modules(self) -> list[nn.Module]:
        """Return the gates and the tasks' own experts."""
        return [self.gates, self.task_experts]

    def _own_experts(self, task: str) -> nn.ModuleList:
        return cast(nn.ModuleList, self.task_experts[task])

    def _weights(self, task: str, summary: Tensor) -> Tensor:
        weights: Tensor = self.gates[task](summary)
        return weights

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        x = self.shared(clips)
        summary = self._summary(clips, x)
        common = [self._pool(expert(x)) for expert in self.shared_experts]
        features = {}
        for task, own in rows.items():
            candidates = [self._pool(expert(x[own])) for expert in self._own_experts(task)]
            candidates += [value[own] for value in common]
            features[task] = mix(self._weights(task, summary[own]), candidates)
        return features


def make_experts(make_trunk: MakeTrunk, stages: Sequence[str], number: int) -> nn.ModuleList:
    """Return experts with weights of their own, each made of these stages of a trunk."""
    return nn.ModuleList(take_stages(make_trunk(), stages) for _ in range(number))


def mix(weights: Tensor, candidates: Sequence[Tensor]) -> Tensor:
    """
    Return the weighted sum of candidates.

    :param weights: ``[B, N]``.
    :param candidates: N tensors of one shape, ``[B, ...]``.
    """
    shape = (-1, *[1] * (candidates[0].ndim - 1))
    # The type of the candidates is kept: gates are float32 in mixed precision.
    columns = weights.to(candidates[0].dtype).unbind(1)
    total = columns[0].view(shape) * candidates[0]
    for column, candidate in zip(columns[1:], candidates[1:]):
        total = total + column.view(shape) * candidate
    return total
