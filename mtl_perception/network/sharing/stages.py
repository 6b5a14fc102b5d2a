"""Cutting a trunk into a part that exists once and stages that exist several times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import copy
import math

from mtl_perception.network.backbones import StagedBackbone
import torch
from torch import nn, Tensor


class Stages(nn.ModuleDict):
    """Consecutive stages of one trunk, by their names; an identity if there is none."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last stage."""
        for stage in self.values():
            x = stage(x)
        return x


def take_stages(trunk: StagedBackbone, names: Sequence[str]) -> Stages:
    """Return some stages of a trunk, in the order in which they run."""
    return Stages({name: stage for name, stage in trunk.stages() if name in names})


def split_names(
    trunk: StagedBackbone, private_stages: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Split the names of the stages of a trunk.

    :param private_stages: The last stages, those that exist more than once; None means all.
    :return: The names of the stages that exist once, then those of the others.
    :raises ValueError: If these are not the last stages in the order in which they run.
    """
    names = tuple(name for name, _ in trunk.stages())
    if private_stages is None:
        return (), names
    is_list = isinstance(private_stages, (list, tuple))
    count = len(private_stages) if is_list else 0
    if not count or names[-count:] != tuple(private_stages):
        raise ValueError(
            f'private_stages must be the last of the stages {list(names)}, in this order, '
            f'or None for all of them, got {private_stages!r}.'
        )
    return names[:-count], names[-count:]


def block_shapes(trunk: StagedBackbone) -> dict[str, tuple[int, ...]]:
    """Return the output shape of every block for one clip size, ``(C, T, H, W)``."""
    # Shapes alone: the meta device computes nothing.
    x = torch.empty(1, 3, *trunk.clip_size, device='meta')
    shapes = {}
    for name, block in copy.deepcopy(trunk).to('meta').eval().blocks():
        x = block(x)
        shapes[name] = tuple(x.shape[1:])
    return shapes


def stage_of(block: str) -> str:
    """Return the name of the stage of a block."""
    return block.partition('.')[0]


def parameters_without(module: nn.Module, left_out: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the trained parameters of a module but for those of some of its parts."""
    others = {id(p) for part in left_out for p in part.parameters()}
    return [p for p in module.parameters() if p.requires_grad and id(p) not in others]


def check_count(name: str, value: int, minimum: int) -> None:
    """
    Check a setting that counts something.

    :raises ValueError: If it is no integer or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f'{name} must be an integer of at least {minimum}, got {value!r}.')


def check_positive(name: str, value: float) -> None:
    """
    Check a setting that is a size.

    :raises ValueError: If it is no positive and finite number.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f'{name} must be positive and finite, got {value!r}.')
