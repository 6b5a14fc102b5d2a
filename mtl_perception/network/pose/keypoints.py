"""Keypoint heatmaps from a feature pyramid (MultiPoseNet, Kocabas et al., 2018)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
import torch
from torch import nn, Tensor
from torch.nn.functional import interpolate, pad
from torchvision.ops import FeaturePyramidNetwork

HEATMAP_STRIDE = 4  # pixels of the input per cell, along each side


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointConfig:
    """Settings of :class:`KeypointBranch`."""

    pyramid_channels: int = 256
    channels: int = 128  # of each level once it has been filtered
    smoothed_channels: int | None = None  # of the map that all levels make; None: 4 x channels
    min_score: float = 0.1  # peaks below are none
    max_peaks: int = 30  # per joint

    def __post_init__(self) -> None:
        for name in ('pyramid_channels', 'channels', 'max_peaks'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        if self.smoothed_channels is not None and self.smoothed_channels < 1:
            raise ValueError(f'smoothed_channels must be positive, got {self.smoothed_channels}.')
        if not 0 < self.min_score < 1:
            raise ValueError(f'min_score must lie between 0 and 1, got {self.min_score}.')


class KeypointOutput(NamedTuple):
    """Heatmaps of the 17 joints and, last, of the background, ``[B, 18, H / 4, W / 4]``."""

    heatmaps: Tensor
    intermediate: tuple[Tensor, ...]  # of P2 to P5 alone, of the same size; empty when deployed


class KeypointBranch(nn.Module):
    """
    The pyramid P2 to P5, the keypoint subnet, and the heads of the intermediate supervision.

    D2 to D5 are two 3x3 convolutions on P2 to P5, brought to the size of D2, concatenated and
    smoothed. P5 itself is not smoothed, as in the source's code.

    :param channels: Of C2 to C5.
    """

    def __init__(self, channels: Sequence[int], config: KeypointConfig) -> None:
        super().__init__()
        self.config = config
        width, outputs = config.channels, NUM_KEYPOINTS + 1
        self.fpn = FeaturePyramidNetwork([*channels], config.pyramid_channels)
        self.fpn.layer_blocks[3] = nn.Identity()
        self.filters = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(config.pyramid_channels, width, 3, padding=1),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in channels
        )
        smoothed = config.smoothed_channels or 4 * width
        self.smooth = nn.Sequential(
            nn.Conv2d(4 * width, smoothed, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.heatmaps = nn.Conv2d(smoothed, outputs, 1)
        self.intermediate = nn.ModuleList(
            nn.Conv2d(config.pyramid_channels, outputs, 1) for _ in channels
        )
        for module in (*self.filters.modules(), *self.smooth.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for module in (self.heatmaps, *self.intermediate):
            assert isinstance(module, nn.Conv2d)
            nn.init.normal_(module.weight, std=0.001)
            # Nearly all of an image is background.
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            nn.init.ones_(module.bias[-1:])  # type: ignore[index]

    def forward(self, maps: Sequence[Tensor]) -> KeypointOutput:
        """Return the heatmaps of C2 to C5."""
        named = OrderedDict((f'c{i + 2}', x) for i, x in enumerate(maps))
        levels = [*self.fpn(named).values()]
        size = levels[0].shape[2:]
        filtered = [
            interpolate(filter_(level), size, mode='nearest')
            for filter_, level in zip(self.filters, levels)
        ]
        heatmaps = self.heatmaps(self.smooth(torch.cat(filtered, 1)))
        intermediate = tuple(
            interpolate(head(level), size, mode='nearest')
            for head, level in zip(self.intermediate, levels)
        )
        return KeypointOutput(heatmaps, intermediate)

    def deploy(self) -> None:
        """Drop what only training needs, in place."""
        self.intermediate = nn.ModuleList()


def find_peaks(heatmaps: Tensor, *, min_score: float, max_peaks: int) -> tuple[Tensor, Tensor]:
    """
    Find local maxima: higher than the left and the upper neighbour, not below the others.

    The place within a cell is that of the parabola through the logarithms of the peak and its
    neighbours, which is exact for a Gaussian; the source upsamples four times instead.

    :param heatmaps: ``[B, J, h, w]``.
    :return: Places (x, y) in pixels of the input, ``[B, J, K, 2]``, and values,
        ``[B, J, K]``, best first; the value is 0 where there are fewer than K peaks.
    """
    height, width = heatmaps.shape[2:]
    # With a border all around, the neighbours of all cells lie in memory as the cells do.
    padded = pad(heatmaps.float(), (1, 1, 1, 1), value=-torch.inf).flatten(2)
    row = width + 2

    def shifted(by: int) -> Tensor:
        return padded[..., row + by : padded.shape[2] - row + by]

    # A plateau of two cells has one peak. Comparing in place gives 0 and 1 as floats, on a CPU
    # several times faster than bools.
    centre = shifted(0)
    is_peak = torch.maximum(shifted(-1), shifted(-row)).clamp_min_(min_score).lt_(centre)
    is_peak *= torch.maximum(shifted(1), shifted(row)).le_(centre)
    scores = torch.where(is_peak.bool(), centre, 0.0)
    best, places = scores.topk(min(max_peaks, height * width), dim=2)

    def at(*shifts: int) -> Tensor:
        return torch.stack([shifted(by).gather(2, places) for by in shifts], -1)

    cells = torch.stack([places % row - 1, places // row], -1)
    cells = cells + _vertex(at(-1, -row), best[..., None], at(1, row))
    # The centre of cell g lies at the middle of its pixels.
    return cells * HEATMAP_STRIDE + (HEATMAP_STRIDE - 1) / 2, best


def _vertex(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    # Beyond the border nothing is known: as if the peak were symmetric there.
    before, after = (
        torch.where(before == -torch.inf, after, before),
        torch.where(after == -torch.inf, before, after),
    )
    before, middle, after = (x.clamp_min(1e-4).log() for x in (before, middle, after))
    curvature = before - 2 * middle + after
    shift = (before - after) / (2 * curvature.clamp_max(-1e-6))
    return shift.clamp(-0.5, 0.5)
