"""Multi-task attention network (Liu, Johns and Davison, 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mtl_perception.network.backbones import StagedBackbone
from mtl_perception.network.backbones.convolution import Conv3d
from mtl_perception.network.backbones.resnet3d import NORMS
from mtl_perception.network.sharing.contract import MakeTrunk
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import (
    block_shapes,
    parameters_without,
    split_names,
    stage_of,
)
import torch
from torch import nn, Tensor
from torch.nn.functional import adaptive_avg_pool3d
from torch.nn.modules.batchnorm import _BatchNorm

Size = tuple[int, int, int]


class StageAttention(nn.Module):
    """The attention of all tasks to one stage of the shared trunk."""

    def __init__(
        self,
        tasks: Sequence[str],
        first: tuple[int, ...],
        last: tuple[int, ...],
        before: tuple[int, ...] | None,
        norm: str,
    ) -> None:
        """
        Build the modules from shapes, ``(C, T, H, W)``.

        :param first: Of the output of the stage's first block.
        :param last: Of the output of its last block.
        :param before: Of the stage before, whose attended features are read; None for no stage.
        """
        super().__init__()
        make_norm, width = NORMS[norm], first[0]
        self.passage: nn.Module | None = None
        if before is not None:
            width += first[0]
            stride = tuple(min(2, old // new) for old, new in zip(before[1:], first[1:]))
            self.passage = nn.Sequential(
                Conv3d(before[0], first[0], 3, stride=cast(Size, stride), padding=1, bias=False),
                make_norm(first[0]),
                nn.ReLU(inplace=True),
            )
        self.masks = nn.ModuleDict(
            {
                task: nn.Sequential(
                    Conv3d(width, last[0], 1, bias=False),
                    make_norm(last[0]),
                    nn.ReLU(inplace=True),
                    Conv3d(last[0], last[0], 1, bias=False),
                    make_norm(last[0]),
                    nn.Sigmoid(),
                )
                for task in tasks
            }
        )

    def forward(
        self, first: Tensor, last: Tensor, before: Mapping[str, Tensor], rows: Mapping[str, slice]
    ) -> dict[str, Tensor]:
        """Return the attended features of each task, for its rows of the stage's features."""
        passed: dict[str, Tensor] = {}
        if self.passage is not None:
            merged = self.passage(torch.cat([before[task] for task in rows]))
            if merged.shape[2:] != first.shape[2:]:
                # Trunks with poolings leave out the last of an odd number of pixels, and what
                # enters a fully connected layer becomes one.
                merged = adaptive_avg_pool3d(merged, cast(Size, first.shape[2:]))
            passed = dict(zip(rows, merged.split([len(before[task]) for task in rows])))
        attended = {}
        for task, own in rows.items():
            x = torch.cat([first[own], passed[task]], 1) if passed else first[own]
            attended[task] = self.masks[task](x) * last[own]
        return attended


class MTAN(RowSharing):
    """
    One trunk, and attention of each task to the features of its stages (MTAN; Liu et al., 2019).

    At stage j task i has the mask ``a = sigmoid(norm(h(relu(norm(g([u; f(A_before)]))))))`` and
    the features ``A = a * p`` (eqs. 1 and 2 of the paper, CVPR 2019): u and p are the outputs of
    the stage's first and last block, g and h convolutions 1x1x1 of the task, and f a 3x3x3
    convolution that all tasks share, absent at the first stage. Where the paper pools after f,
    f has the stride of the stage here, as trunks shrink maps themselves: cheaper, and right for
    sizes that are not even. Only where the stage shrinks them otherwise, as poolings of odd sizes
    and fully connected layers do, the mean of what is left is taken after f. The features of a
    task are the pooled A of the last stage.
    """

    def __init__(
        self,
        make_trunk: MakeTrunk,
        tasks: Sequence[str],
        private_stages: Sequence[str] | None = ('layer3', 'layer4'),
    ) -> None:
        """
        Build the trunk and the attention, whose norms are of the trunk's kind, or else groups'.

        :param private_stages: The last stages of the backbone, those with attention; None for all
            of them, as in the paper: the early ones are the costly ones.
        :raises ValueError: If these are not the last stages.
        """
        super().__init__(tasks)
        self.trunk = make_trunk()
        self.feature_dim = self.trunk.feature_dim
        _, private = split_names(self.trunk, private_stages)
        shapes = block_shapes(self.trunk)
        self._ends = {stage: _ends(list(shapes), stage) for stage in private}
        self.attention = nn.ModuleDict()
        before = None
        for stage, (first, last) in self._ends.items():
            self.attention[stage] = StageAttention(
                tasks, shapes[first], shapes[last], before, _norm_of(self.trunk)
            )
            before = shapes[last]

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the stages of the one trunk."""
        return list(self.trunk.stages())

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters of the trunk and of the convolutions f."""
        masks = [m.masks for m in self.attention.values() if isinstance(m, StageAttention)]
        return parameters_without(self, masks)

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        x = first = clips
        attended: dict[str, Tensor] = {}
        for name, block in self.trunk.blocks():
            x = block(x)
            if name not in self._ends.get(stage_of(name), ()):
                continue
            start, end = self._ends[stage_of(name)]
            if name == start:
                first = x
            if name == end:
                attended = self.attention[stage_of(name)](first, x, attended, rows)
        return {task: self.trunk.pool(attended[task]) for task in rows}


def _ends(blocks: Sequence[str], stage: str) -> tuple[str, str]:
    own = [block for block in blocks if stage_of(block) == stage]
    return own[0], own[-1]


def _norm_of(trunk: StagedBackbone) -> str:
    # Trunks without norms treat each clip by itself too.
    return 'batch' if any(isinstance(m, _BatchNorm) for m in trunk.modules()) else 'group'
