"""Learning to branch (Guo et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.experts import mix
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import (
    check_count,
    check_positive,
    split_names,
    Stages,
    take_stages,
)
import torch
from torch import nn, Tensor

Paths = dict[str, tuple[int, ...]]


class LearningToBranch(RowSharing):
    """
    A tree of stages, where each branch learns to pick its parent (Guo et al., 2020).

    Each private stage has several branches. A branch has logits over the branches of the stage
    before, a task over those of the last one. In training its input is the mix of the parents'
    outputs by a Gumbel-softmax sample of the logits, drawn once per forward pass; its temperature
    falls geometrically over the training, and its ends are chosen here. In evaluation every
    branch and task takes its most probable parent, and only the branches that lead to a task run;
    a deployed copy holds no others.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        num_branches: int | None = None,
        temperature: float = 5.0,
        final_temperature: float = 0.5,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the shared stages and the branches; all parents are equally probable.

        :param num_branches: Branches of each private stage; None for the number of tasks.
        :param temperature: Of the samples at the start of the training; high ones are even mixes.
        :param final_temperature: At the end; low ones pick one parent.
        :param private_stages: The last stages of the backbone, those that branch; None for all.
        :raises ValueError: If a setting is out of range.
        """
        super().__init__(tasks)
        number = len(tasks) if num_branches is None else num_branches
        check_count('num_branches', number, 1)
        check_positive('temperature', temperature)
        check_positive('final_temperature', final_temperature)
        trunk = make_trunk()
        shared, self.private_stages = split_names(trunk, private_stages)
        self.shared = take_stages(trunk, shared)
        self.feature_dim, self._pool = trunk.feature_dim, trunk.pool
        self._temperatures = (float(temperature), float(final_temperature))
        self.temperature = float(temperature)
        self.num_branches = number
        trunks = [make_trunk() for _ in range(number)]
        self.branches = nn.ModuleDict()
        for stage in self.private_stages:
            parts = {str(i): take_stages(trunk, [stage]) for i, trunk in enumerate(trunks)}
            self.branches[stage] = nn.ModuleDict(parts)
        # The rows are the branches of a stage, the columns those of the stage before.
        self.parent_logits = nn.ParameterDict(
            {stage: torch.zeros(number, number) for stage in self.private_stages[1:]}
        )
        self.task_logits = nn.ParameterDict({task: torch.zeros(1, number) for task in tasks})
        self._noise: dict[tuple[str, str], Tensor] = {}
        self._deployed_paths: Paths | None = None

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then all branches."""
        groups = [cast(nn.ModuleDict, self.branches[stage]) for stage in self.private_stages]
        branches = [cast(Stages, branch) for group in groups for branch in group.values()]
        return [part for stages in [self.shared, *branches] for part in stages.items()]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return all trained parameters but the logits of the tasks."""
        own = {id(p) for p in self.task_logits.values()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in own]

    def rate_multipliers(self) -> list[tuple[nn.Parameter, float]]:
        """Return the logits at the common rate: weight decay spares them."""
        logits = [*self.parent_logits.values(), *self.task_logits.values()]
        return [(cast(nn.Parameter, p), 1.0) for p in logits]

    def set_progress(self, progress: float) -> None:
        """Set the temperature."""
        start, end = self._temperatures
        self.temperature = start * (end / start) ** progress

    def structure(self) -> dict[str, dict[str, list[float]]]:
        """Return the probability of each branch to be on a task's path, per private stage."""
        if self._deployed_paths is not None:
            return {}
        shares: dict[str, dict[str, list[float]]] = {stage: {} for stage in self.private_stages}
        for task in self.tasks:
            row = self.task_logits[task].detach().softmax(1)
            for stage in reversed(self.private_stages):
                shares[stage][task] = row[0].tolist()
                if stage in self.parent_logits:
                    row = row @ self.parent_logits[stage].detach().softmax(1)
        return shares

    def paths(self) -> Paths:
        """Return the branch of each private stage on each task's most probable path."""
        if self._deployed_paths is not None:
            return self._deployed_paths
        parents = {stage: p.argmax(1).tolist() for stage, p in self.parent_logits.items()}
        paths = {}
        for task in self.tasks:
            path = [int(self.task_logits[task].argmax())]
            for stage in reversed(self.private_stages[1:]):
                path.insert(0, parents[stage][path[0]])
            paths[task] = tuple(path)
        return paths

    def deploy(self) -> LearningToBranch:
        """Return a copy that infers, with the most probable tree and no other branch."""
        deployed = cast(LearningToBranch, super().deploy())
        paths = deployed.paths()
        for level, stage in enumerate(self.private_stages):
            used = {str(path[level]) for path in paths.values()}
            branches = cast(nn.ModuleDict, deployed.branches[stage])
            for name in [name for name in branches if name not in used]:
                del branches[name]
        deployed._deployed_paths = paths
        deployed.parent_logits, deployed.task_logits = nn.ParameterDict(), nn.ParameterDict()
        return deployed

    def _branch(self, stage: str, index: int) -> Stages:
        return cast(Stages, cast(nn.ModuleDict, self.branches[stage])[str(index)])

    def _begin(self) -> None:
        # Noise, not samples: tasks that run apart must not have a part of their graphs in common.
        self._noise = {}
        if self.training:
            groups = {'parents': self.parent_logits, 'task': self.task_logits}
            for kind, logits in groups.items():
                for name, values in logits.items():
                    self._noise[kind, name] = gumbel(values.shape)

    def _sample(self, kind: str, name: str, logits: Tensor) -> Tensor:
        noise = self._noise[kind, name].to(logits)
        return ((logits.log_softmax(1) + noise) / self.temperature).softmax(1)

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        x = self.shared(clips)
        return self._mixed(x, rows) if self.training else self._tree(x, rows)

    def _mixed(self, x: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        inputs = [x] * self.num_branches
        outputs: list[Tensor] = []
        for stage in self.private_stages:
            if outputs:
                shares = self._sample('parents', stage, self.parent_logits[stage])
                inputs = [mix(share, outputs) for share in shares.split(1)]
            outputs = [self._branch(stage, i)(inputs[i]) for i in range(self.num_branches)]
        pooled = [self._pool(output) for output in outputs]
        return {
            task: mix(self._sample('task', task, self.task_logits[task]), [p[own] for p in pooled])
            for task, own in rows.items()
        }

    def _tree(self, x: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        paths = self.paths()
        outputs: dict[tuple[int, ...], Tensor] = {(): x}
        for task in rows:
            for end, stage in enumerate(self.private_stages, 1):
                path = paths[task][:end]
                if path not in outputs:
                    outputs[path] = self._branch(stage, path[-1])(outputs[path[:-1]])
        return {task: self._pool(outputs[paths[task]][own]) for task, own in rows.items()}


def gumbel(shape: Sequence[int]) -> Tensor:
    """Return standard Gumbel noise from torch's default generator on the CPU."""
    # An exponential number is never zero, so no logarithm is infinite.
    return -torch.empty(tuple(shape)).exponential_().log()
