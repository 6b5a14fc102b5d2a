"""Progressive layered extraction (Tang et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.experts import ExpertSharing, Gate, make_experts, mix
from mtl_perception.network.sharing.stages import check_count, Stages
from torch import nn, Tensor


class Level(nn.Module):
    """The experts of one stage, and the gates that mix their outputs."""

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        stage: str,
        *,
        input_dim: int,
        num_shared: int,
        num_own: int,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.shared_experts = make_experts(make_trunk, [stage], num_shared)
        self.task_experts = nn.ModuleDict(
            {task: make_experts(make_trunk, [stage], num_own) for task in tasks}
        )
        self.task_gates = nn.ModuleDict(
            {task: Gate(input_dim, num_own + num_shared) for task in tasks}
        )
        # After the last level only the tasks go on.
        self.shared_gate = None if is_last else Gate(input_dim, num_own * len(tasks) + num_shared)

    def experts(self) -> list[Stages]:
        """Return the shared experts, then those of each task."""
        groups = [self.shared_experts, *self.task_experts.values()]
        return [cast(Stages, expert) for group in groups for expert in cast(nn.ModuleList, group)]

    def common(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of the shared experts."""
        return [expert(x) for expert in self.shared_experts]

    def own(self, task: str, x: Tensor) -> list[Tensor]:
        """Return the outputs of a task's experts."""
        return [expert(x) for expert in cast(nn.ModuleList, self.task_experts[task])]


class PLE(ExpertSharing):
    """
    CGC at each private stage, with a shared path between (PLE; Tang et al., 2020).

    At each level every task and the shared path have experts, one copy of the stage each. A
    task's gate mixes its own experts' outputs and the shared ones', as feature maps; the gate of
    the shared path mixes those of all experts. A gate
    reads the pooled map that its own path brings from the level before. With one private stage
    this is :class:`CGC`. A clip of one task passes the experts of the others too, but for those
    of the last level.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        num_shared_experts: int = 1,
        num_task_experts: int = 1,
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the shared stages and one level for each private stage.

        :param num_shared_experts: Experts of the shared path in each level, at least 1.
        :param num_task_experts: Experts of each task in each level, at least 1.
        :param private_stages: The last stages of the backbone, the levels; None for all of them.
        :raises ValueError: If a setting is out of range.
        """
        check_count('num_shared_experts', num_shared_experts, 1)
        check_count('num_task_experts', num_task_experts, 1)
        super().__init__(make_trunk, tasks, private_stages)
        stages = self.private_stages
        dims = [self._input_dim, *(self._stage_dims[stage] for stage in stages)]
        self.levels = nn.ModuleList(
            Level(
                make_trunk,
                tasks,
                stage,
                input_dim=dim,
                num_shared=num_shared_experts,
                num_own=num_task_experts,
                is_last=stage == stages[-1],
            )
            for stage, dim in zip(stages, dims)
        )

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then the copies of the private ones."""
        experts = [expert for level in self._levels for expert in level.experts()]
        return [stage for part in [self.shared, *experts] for stage in part.items()]

    def gate_modules(self) -> list[nn.Module]:
        """Return the gates of all levels."""
        gates = [gate for level in self._levels for gate in level.task_gates.values()]
        return gates + [level.shared_gate for level in self._levels if level.shared_gate]

    def own_modules(self) -> list[nn.Module]:
        """
        Return the last level's experts of each task, and the gates of the last two levels.

        What a gate of an earlier level gives passes the experts of the next level and then the
        shared path.
        """
        gates: list[nn.Module] = [level.task_gates for level in self._levels[-2:]]
        return [*gates, self._levels[-1].task_experts]

    @property
    def _levels(self) -> list[Level]:
        return [cast(Level, level) for level in self.levels]

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        *levels, last = self._levels
        shared = self.shared(clips)
        summary = self._summary(clips, shared)
        paths, summaries = dict.fromkeys(self.tasks, shared), dict.fromkeys(self.tasks, summary)
        for level in levels:
            common = level.common(shared)
            own = {task: level.own(task, paths[task]) for task in self.tasks}
            # The last level takes no more than each task's own rows.
            kept = rows if level is levels[-1] else dict.fromkeys(self.tasks, slice(None))
            paths = {
                task: mix(
                    level.task_gates[task](summaries[task][part]),
                    [value[part] for value in [*own[task], *common]],
                )
                for task, part in kept.items()
            }
            candidates = [value for task in self.tasks for value in own[task]]
            shared = mix(cast(Gate, level.shared_gate)(summary), [*candidates, *common])
            summary = self._pool(shared)
            summaries = {task: self._pool(path) for task, path in paths.items()}
        if not levels:
            paths = {task: shared[part] for task, part in rows.items()}
            summaries = {task: summary[part] for task, part in rows.items()}
        pooled = [self._pool(value) for value in last.common(shared)]
        features = {}
        for task, part in rows.items():
            candidates = [self._pool(value) for value in last.own(task, paths[task])]
            candidates += [value[part] for value in pooled]
            features[task] = mix(last.task_gates[task](summaries[task]), candidates)
        return features
