"""Person detection: RetinaNet (Lin et al., 2017) on a feature pyramid of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock
from torchvision.ops.misc import Conv2dNormActivation

PRIOR = 0.01  # what the head says of every anchor before it has learnt anything
ANCHOR_SIZES = (32, 64, 128, 256, 512)  # pixels, on P3 to P7
ASPECT_RATIOS = (0.5, 1.0, 2.0)
SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
NUM_ANCHORS = len(ASPECT_RATIOS) * len(SCALES)
HEAD_NORMS = ('none', 'group')
# Where (0, 0) is in the boxes that the head has learnt: the centre of the first pixel, as the data
# sets of this project have it, or the corner of the image, half a pixel before it.
ORIGINS = ('centre', 'corner')
# Anchors have whole sides: half the narrowest one would be rounded to none.
MIN_ANCHOR_SCALE = 2 / ANCHOR_SIZES[0]
MAX_LOG_SCALE = math.log(1000 / 16)  # a box is at most so many times larger than its anchor


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionConfig:
    """Settings of :class:`DetectionBranch`."""

    channels: int = 256  # of the pyramid and of both towers
    num_convs: int = 4  # convolutions per tower
    norm: str = 'none'  # or 'group', as in torchvision's retinanet_resnet50_fpn_v2
    p6_from: str = 'c5'  # or 'p5', as in torchvision's retinanet_resnet50_fpn
    anchor_scale: float = 1.0  # factor on all anchors: below 1 for small images
    min_score: float = 0.05  # boxes below are not even considered
    nms_iou: float = 0.5
    max_candidates: int = 1000  # per level, before the non-maximum suppression
    max_people: int = 20
    origin: str = 'centre'  # of the boxes learnt; 'corner' of the image: torchvision's weights

    def __post_init__(self) -> None:
        for name in ('channels', 'num_convs', 'max_candidates', 'max_people'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        if self.norm not in HEAD_NORMS:
            raise ValueError(f'norm must be one of {HEAD_NORMS}, got {self.norm!r}.')
        if self.p6_from not in ('c5', 'p5'):
            raise ValueError(f"p6_from must be 'c5' or 'p5', got {self.p6_from!r}.")
        for name in ('min_score', 'nms_iou'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must lie in [0, 1], got {getattr(self, name)}.')
        if not MIN_ANCHOR_SCALE <= self.anchor_scale <= 8:
            raise ValueError(
                f'anchor_scale must lie in [{MIN_ANCHOR_SCALE}, 8], got {self.anchor_scale}.'
            )
        if self.origin not in ORIGINS:
            raise ValueError(f'origin must be one of {ORIGINS}, got {self.origin!r}.')


class DetectionOutput(NamedTuple):
    """What the head says of every anchor of a batch of images."""

    logits: Tensor  # [B, A]
    deltas: Tensor  # [B, A, 4], relative to the anchors
    anchors: Tensor  # [A, 4], xyxy in pixels of the input, (0, 0) being the first one's centre
    level_sizes: tuple[int, ...]  # anchors of each level, P3 to P7


class CoarseLevels(ExtraFPNBlock):
    """P6 and P7: strided convolutions on C5 or on P5, named as torchvision names them."""

    def __init__(self, in_channels: int, channels: int, *, from_c5: bool) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self._from_c5 = from_c5
        for module in (self.p6, self.p7):
            nn.init.kaiming_uniform_(module.weight, a=1)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        """Append P6 and P7 to the levels of a pyramid."""
        p6 = self.p6(x[-1] if self._from_c5 else results[-1])
        p7 = self.p7(torch.relu(p6))
        return [*results, p6, p7], [*names, 'p6', 'p7']


class _Tower(nn.Module):
    def __init__(self, config: DetectionConfig) -> None:
        super().__init__()
        width = config.channels
        norm = None
        if config.norm == 'group':
            groups = math.gcd(32, width)

            def norm(channels: int) -> nn.Module:
                return nn.GroupNorm(groups, channels)

        self.conv = nn.Sequential(
            *(Conv2dNormActivation(width, width, norm_layer=norm) for _ in range(config.num_convs))
        )
        for module in self.conv.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _final(self, width: int, outputs: int, bias: float) -> nn.Conv2d:
        layer = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
        return layer


class ClassificationTower(_Tower):
    """How probable a person is at every anchor."""

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__(config)
        bias = -math.log((1 - PRIOR) / PRIOR)
        self.cls_logits = self._final(config.channels, NUM_ANCHORS, bias)

    def forward(self, level: Tensor) -> Tensor:
        """Return logits ``[B, h * w * 9]`` of one level."""
        return self.cls_logits(self.conv(level)).permute(0, 2, 3, 1).flatten(1)


class RegressionTower(_Tower):
    """Where the person's box lies, relative to every anchor."""

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__(config)
        self.bbox_reg = self._final(config.channels, 4 * NUM_ANCHORS, 0.0)

    def forward(self, level: Tensor) -> Tensor:
        """Return deltas ``[B, h * w * 9, 4]`` of one level."""
        deltas = self.bbox_reg(self.conv(level)).permute(0, 2, 3, 1)
        return deltas.flatten(1).unflatten(1, (-1, 4))


class DetectionHead(nn.Module):
    """Both towers, shared by all levels; its state dict is that of torchvision's RetinaNetHead."""

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__()
        self.classification_head = ClassificationTower(config)
        self.regression_head = RegressionTower(config)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits ``[B, A]`` and deltas ``[B, A, 4]`` of all levels, one after the other."""
        logits = torch.cat([self.classification_head(level) for level in levels], 1)
        return logits, torch.cat([self.regression_head(level) for level in levels], 1)


class DetectionBranch(nn.Module):
    """
    The pyramid P3 to P7 and the RetinaNet head (arXiv 1708.02002), for one class: a person.

    Pyramid and head take the weights of torchvision's ``retinanet_resnet50_fpn`` and ``_v2``.
    Anchors are torchvision's: whole pixels, which the paper does not ask for; of a head that
    counts from the image's corner they lie half a pixel lower, and with them its boxes.

    :param channels: Of C2 to C5.
    """

    def __init__(self, channels: Sequence[int], config: DetectionConfig) -> None:
        super().__init__()
        self.config = config
        from_c5 = config.p6_from == 'c5'
        coarse = CoarseLevels(
            channels[3] if from_c5 else config.channels, config.channels, from_c5=from_c5
        )
        self.fpn = FeaturePyramidNetwork([*channels[1:]], config.channels, coarse)
        self.head = DetectionHead(config)
        sizes = tuple(
            tuple(int(config.anchor_scale * size * scale) for scale in SCALES)
            for size in ANCHOR_SIZES
        )
        self._anchors = AnchorGenerator(sizes, (ASPECT_RATIOS,) * len(sizes))
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def forward(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> DetectionOutput:
        """
        Return what the head says of every anchor.

        :param maps: C2 to C5.
        :param image_size: Height and width of the input, pixels.
        """
        named = OrderedDict((f'c{i + 3}', x) for i, x in enumerate(maps[1:]))
        levels = [*self.fpn(named).values()]
        logits, deltas = self.head(levels)
        sizes = tuple(NUM_ANCHORS * level.shape[2] * level.shape[3] for level in levels)
        return DetectionOutput(logits, deltas, self._all_anchors(levels, image_size), sizes)

    def _all_anchors(self, levels: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        key = (image_size, levels[0].device)
        if key not in self._cache:
            # The same for every image of a size.
            self._cache = {key: self._made_anchors(levels, image_size).to(levels[0].device)}
        return self._cache[key]

    def _made_anchors(self, levels: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        grids = [tuple(level.shape[2:]) for level in levels]
        # On the CPU, whatever the default is: the generator keeps what it is made of.
        with torch.device('cpu'):
            strides = [
                [torch.tensor(image_size[axis] // grid[axis]) for axis in (0, 1)] for grid in grids
            ]
            # In float32: half precision has whole pixels only.
            self._anchors.set_cell_anchors(torch.float32, torch.device('cpu'))
            anchors = torch.cat(self._anchors.grid_anchors(grids, strides))  # type: ignore[arg-type]
        return anchors - 0.5 if self.config.origin == 'corner' else anchors

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DetectionBranch:
        # What moves to another device leaves no memory behind.
        self._cache = {}
        return super()._apply(fn, recurse)


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return boxes ``[..., 4]`` (xyxy) as shifts and log scales of their anchors."""
    low, sides = anchors[..., :2], anchors[..., 2:] - anchors[..., :2]
    box_low, box_sides = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    shifts = (box_low + box_sides / 2 - low - sides / 2) / sides
    return torch.cat([shifts, (box_sides / sides).log()], -1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (xyxy) that deltas ``[..., 4]`` make of their anchors."""
    low, sides = anchors[..., :2], anchors[..., 2:] - anchors[..., :2]
    centres = low + sides / 2 + deltas[..., :2] * sides
    halves = deltas[..., 2:].clamp_max(MAX_LOG_SCALE).exp() * sides / 2
    return torch.cat([centres - halves, centres + halves], -1)
