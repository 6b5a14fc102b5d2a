"""Cross-stitch networks: one stream per task, mixed by learnable units (soft sharing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import (
    block_shapes,
    check_positive,
    split_names,
    stage_of,
    Stages,
    take_stages,
)
import torch
from torch import nn, Tensor

TIED = 'tied'


class StitchUnit(nn.Module):
    """
    Mix the streams of all tasks: ``x~_i = sum_j H[i, j] x_j`` (Misra et al., 2016, eq. 1).

    :param num_tasks: K; a single stream passes as it is.
    :param shared: The weight that each task takes from the others together: H is ``1 - shared``
        on its diagonal and ``shared / (K - 1)`` off it, so that its rows sum to 1.
    :param channels: One H per channel, ``[K, K, channels]``; None for one H, ``[K, K]``.
    :param learnable: H is a parameter, or else a buffer.
    """

    weights: Tensor

    def __init__(
        self, num_tasks: int, shared: float, *, channels: int | None, learnable: bool
    ) -> None:
        super().__init__()
        own = torch.eye(num_tasks)
        weights = own
        if num_tasks > 1:
            weights = (1 - shared) * own + shared / (num_tasks - 1) * (1 - own)
        if channels is not None:
            weights = weights.unsqueeze(-1).repeat(1, 1, channels)
        if learnable:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer('weights', weights)

    def forward(self, streams: Sequence[Tensor], task: int) -> Tensor:
        """Return what a task's stream goes on with, from those of all tasks, ``[B, C, ...]``."""
        row = self.weights[task].to(streams[0].dtype)
        if row.ndim == 2:
            row = row.view(len(row), -1, *[1] * (streams[0].ndim - 2))
        mixed = row[0] * streams[0]
        for weight, stream in zip(row[1:], streams[1:]):
            mixed = torch.addcmul(mixed, weight, stream)
        return mixed

    def shares(self) -> Tensor:
        """Return the sizes of H, averaged over the channels, as shares of each row, ``[K, K]``."""
        sizes = self.weights.detach().float().abs()
        sizes = sizes.mean(-1) if sizes.ndim == 3 else sizes
        return sizes / sizes.sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)


class CrossStitch(RowSharing):
    """
    Cross-stitch units between the stages of one trunk per task (Misra et al., 2016).

    Each task has batches of its own, so every batch goes through the streams of all tasks up to
    the last unit, and from there through the stream of its task alone. Streams that no task can
    hear, as with a fixed ``shared`` of 0, do not run. Weight decay spares H.

    Live batch norms see all that passes through their stream: the batches of all tasks, at once
    where they are merged, one after the other where they are not.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        *,
        stitch_after: Sequence[str] = ('layer3', 'layer4'),
        shared: float = 0.2,
        per_channel: bool = False,
        learnable: bool = True,
        tied: bool = False,
        rate_multiplier: float = 1.0,
        private_stages: Sequence[str] | None = None,
    ) -> None:
        """
        Build one stream per task, each from its own initial weights.

        :param stitch_after: The private stages that a unit follows.
        :param shared: The weight that a task takes from the others together at the start, from 0
            (single tasks) to 1 (nothing but the others).
        :param per_channel: One H per channel (Misra et al.) rather than one per unit.
        :param learnable: Whether H is trained; otherwise it stays as it starts.
        :param tied: One H for all units.
        :param rate_multiplier: Learning rate of H over the common one; Misra et al. use 100 to
            1000 with SGD.
        :param private_stages: The last stages, which each stream has for itself; None for all.
        :raises ValueError: If a setting is out of range or a stage is not there to be stitched.
        """
        super().__init__(tasks)
        if not isinstance(shared, (int, float)) or not 0 <= shared <= 1:
            raise ValueError(f'shared must be from 0 to 1, got {shared!r}.')
        check_positive('rate_multiplier', rate_multiplier)
        if tied and per_channel:
            raise ValueError('tied must be false with per_channel: stages differ in channels.')
        trunks = [make_trunk() for _ in tasks]
        early, private = split_names(trunks[0], private_stages)
        self.early = take_stages(trunks[0], early)
        self.streams = nn.ModuleDict(
            {task: take_stages(trunk, private) for task, trunk in zip(tasks, trunks)}
        )
        self._stages = list(private)
        self._check_stages(stitch_after)
        # What is after the last unit belongs to one task.
        self._num_mixed = 1 + max(self._stages.index(stage) for stage in stitch_after)
        # Nothing to learn for one task, and nothing to hear for a fixed share of nothing.
        learns = learnable and len(tasks) > 1
        self._independent = not learns and (shared == 0 or len(tasks) == 1)
        channels = {}
        if per_channel:
            shapes = block_shapes(trunks[0]).items()
            channels = {stage_of(block): shape[0] for block, shape in shapes}
        self._tied = tied
        self.units = nn.ModuleDict(
            {
                name: StitchUnit(len(tasks), shared, channels=channels.get(name), learnable=learns)
                for name in ([TIED] if tied else [s for s in self._stages if s in stitch_after])
            }
        )
        self._stitched = set(stitch_after)
        self._rate_multiplier = float(rate_multiplier)
        self._pool = trunks[0].pool
        self.feature_dim = trunks[0].feature_dim

    def _check_stages(self, stitch_after: Sequence[str]) -> None:
        wanted = list(stitch_after)
        if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(self._stages):
            raise ValueError(
                f'stitch_after must name distinct stages of {self._stages}, the private ones, '
                f'at least one; got {wanted}.'
            )

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then those of every stream."""
        streams = [self._stream(task).items() for task in self.tasks]
        return [*self.early.items(), *(stage for stages in streams for stage in stages)]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return those of the shared stages and, unless fixed apart, of the streams and units."""
        modules: list[nn.Module] = list(self.early.values())
        if not self._independent:
            modules += [self.units]
            for task in self.tasks:
                modules += list(self._stream(task).values())[: self._num_mixed]
        return [p for module in modules for p in module.parameters() if p.requires_grad]

    def rate_multipliers(self) -> list[tuple[nn.Parameter, float]]:
        """Return every H that is trained."""
        return [(weights, self._rate_multiplier) for weights in self.units.parameters()]

    def structure(self) -> dict[str, dict[str, list[float]]]:
        """Return what each task takes from the stream of each, after every stage with a unit."""
        return {
            stage: dict(zip(self.tasks, self._unit(stage).shares().tolist()))
            for stage in self._stages
            if stage in self._stitched
        }

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        """Return the features of each task's rows."""
        x = self.early(clips)
        if self._independent:
            done, own = 0, {task: x[wanted] for task, wanted in rows.items()}
        else:
            done, own = self._num_mixed, self._mixed(x, rows)
        features = {}
        for task, value in own.items():
            for stage in self._stages[done:]:
                value = self._stream(task)[stage](value)
            features[task] = self._pool(value)
        return features

    def _mixed(self, x: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        """Return each task's rows of its own stream after the last unit."""
        streams = [x] * len(self.tasks)
        *stages, last = self._stages[: self._num_mixed]
        for stage in stages:
            streams = self._run_stage(stage, streams)
            if stage in self._stitched:
                unit = self._unit(stage)
                streams = [unit(streams, i) for i in range(len(self.tasks))]
        streams = self._run_stage(last, streams)
        return {
            task: self._unit(last)([s[wanted] for s in streams], self.tasks.index(task))
            for task, wanted in rows.items()
        }

    def _run_stage(self, stage: str, streams: Sequence[Tensor]) -> list[Tensor]:
        return [self._stream(task)[stage](x) for task, x in zip(self.tasks, streams)]

    def _stream(self, task: str) -> Stages:
        return cast('Stages', self.streams[task])

    def _unit(self, stage: str) -> StitchUnit:
        return cast('StitchUnit', self.units[TIED if self._tied else stage])
