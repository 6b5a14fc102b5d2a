"""ResNet (He et al., 2016) for images on the frames of a clip."""

from __future__ import annotations

from collections import OrderedDict

from mtl_perception.network.backbones.framewise import FrameWise, framewise
from mtl_perception.network.backbones.residual import ResidualStages
from mtl_perception.network.backbones.resnet2d import BLOCKS, make_layer
from mtl_perception.network.backbones.resnet3d import group_norm, Norm
from torch import nn, Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck

NORMS: dict[str, Norm] = {'batch': nn.BatchNorm2d, 'group': group_norm}


class ClipBasicBlock(BasicBlock):
    """torchvision's block on every frame of a clip."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C', T, H', W']`` of ``[B, C, T, H, W]``."""
        return framewise(super().forward, x)


class ClipBottleneck(Bottleneck):
    """torchvision's block with a bottleneck on every frame of a clip."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, C', T, H', W']`` of ``[B, C, T, H, W]``."""
        return framewise(super().forward, x)


ON_CLIPS = {BasicBlock: ClipBasicBlock, Bottleneck: ClipBottleneck}


class ImageResNet(ResidualStages):
    """
    ResNet of 18 to 152 layers on every frame by itself (He et al., 2016, arXiv 1512.03385).

    The features of a clip are the mean over its frames and their pixels. At width 64 its state
    dict is that of torchvision's ``resnet18`` to ``resnet152`` without ``fc``, but for ``stem.``
    before ``conv1`` and ``bn1``.
    """

    def __init__(self, depth: int = 18, width: int = 64, norm: str = 'batch') -> None:
        """
        Build the stages and initialise them as torchvision does.

        :param depth: 18, 34, 50, 101 or 152.
        :param width: Channels of the stem; each layer after the first doubles them.
        :param norm: ``batch``, or ``group``, which treats each frame by itself.
        :raises ValueError: If a setting is out of range.
        """
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f'depth must be one of {sorted(BLOCKS)}, got {depth}.')
        if width < 1:
            raise ValueError(f'width must be at least 1, got {width}.')
        if norm not in NORMS:
            raise ValueError(f'norm must be one of {sorted(NORMS)}, got {norm!r}.')
        block, counts = BLOCKS[depth]
        self.stem = FrameWise(
            OrderedDict(
                conv1=nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
                bn1=NORMS[norm](width),
                relu=nn.ReLU(inplace=True),
                maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        channels = width
        for i, count in enumerate(counts):
            planes, stride = width * 2**i, 1 if i == 0 else 2
            layer = make_layer(ON_CLIPS[block], channels, planes, count, stride, NORMS[norm])
            setattr(self, f'layer{i + 1}', layer)
            channels = planes * block.expansion
        self.feature_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
