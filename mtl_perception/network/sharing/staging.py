"""Cutting a backbone into the stages that all tasks share and those that exist more than once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import copy

from mtl_perception.network.backbones import StagedBackbone
import torch
from torch import nn, Tensor

Stages = list[tuple[str, nn.Module]]


def split_stages(
    trunk: StagedBackbone, private_stages: Sequence[str] | None
) -> tuple[Stages, Stages]:
    """
    Return the stages that all tasks share, then those that a method has several copies of.

    :param private_stages: The last stages of the backbone, in their order; None for all of them.
    :raises ValueError: If they are anything else.
    """
    stages = trunk.stages()
    if private_stages is None:
        return [], stages
    names = [name for name, _ in stages]
    wanted = list(private_stages)
    if not wanted or wanted != names[-len(wanted) :]:
        raise ValueError(
            f'private_stages must be the last one or more of the stages {names}, got {wanted}.'
        )
    return stages[: -len(wanted)], stages[-len(wanted) :]


def run_stages(stages: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return what the stages make of a batch, one after the other."""
    for stage in stages:
        x = stage(x)
    return x


def stage_channels(trunk: StagedBackbone) -> dict[str, int]:
    """Return the number of channels that each stage puts out."""
    # Shapes alone: the meta device computes nothing.
    x = torch.empty(1, 3, 16, 64, 64, device='meta')
    channels: dict[str, int] = {}
    for name, stage in copy.deepcopy(trunk).to('meta').eval().stages():
        x = stage(x)
        channels[name] = x.shape[1]
    return channels


def task_groups(clips: Mapping[str, Tensor], *, merge: bool) -> list[list[str]]:
    """Return the tasks whose batches may run as one: those of one clip shape, or each alone."""
    if not merge:
        return [[task] for task in clips]
    groups: dict[tuple[int, ...], list[str]] = {}
    for task, batch in clips.items():
        groups.setdefault(tuple(batch.shape[1:]), []).append(task)
    return list(groups.values())


def concatenated(batches: Sequence[Tensor]) -> Tensor:
    """Return several batches as one; a single one stays as it is."""
    return batches[0] if len(batches) == 1 else torch.cat(list(batches))
