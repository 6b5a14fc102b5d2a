"""ResNet (He et al., 2016) as torchvision builds it, at any width, with the maps of all layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn, Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck

Block = type[BasicBlock] | type[Bottleneck]
BLOCKS: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
TORCHVISION_WIDTH = 64


class ResNet2d(nn.Module):
    """
    ResNet of 18 to 152 layers (He et al., 2016, arXiv 1512.03385) without its classifier.

    At width 64 its state dict is that of torchvision's ``resnet18`` to ``resnet152`` without
    ``fc``.
    """

    def __init__(self, depth: int = 50, width: int = 64, norm_eps: float = 1e-5) -> None:
        """
        Build the stages and initialise them as torchvision does.

        :param depth: 18, 34, 50, 101 or 152.
        :param width: Channels of the stem; each later layer doubles them.
        :param norm_eps: Of the batch norms.
        """
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f'depth must be one of {sorted(BLOCKS)}, got {depth}.')
        if width < 1:
            raise ValueError(f'width must be at least 1, got {width}.')
        block, counts = BLOCKS[depth]
        norm = partial(nn.BatchNorm2d, eps=norm_eps)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        self.channels: list[int] = []  # of C2 to C5, of strides 4, 8, 16 and 32
        for i, count in enumerate(counts):
            layer = make_layer(block, channels, width * 2**i, count, 1 if i == 0 else 2, norm)
            setattr(self, f'layer{i + 1}', layer)
            channels = width * 2**i * block.expansion
            self.channels.append(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the named parts with weights, in the order in which they run."""
        names = ('conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4')
        return [(name, getattr(self, name)) for name in names]

    def forward(self, images: Tensor) -> list[Tensor]:
        """
        Return the maps of the four layers.

        :param images: Normalised, ``[B, 3, H, W]``.
        :return: C2 to C5, ``[B, channels[i], H / s, W / s]`` for strides s of 4, 8, 16 and 32.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for i in range(4):
            x = getattr(self, f'layer{i + 1}')(x)
            maps.append(x)
        return maps


def make_layer(
    block: Block,
    in_channels: int,
    planes: int,
    count: int,
    stride: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    """Return blocks of which the first has the stride, and a shortcut that fits if need be."""
    channels = planes * block.expansion
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), norm(channels)
        )
    first = block(in_channels, planes, stride, shortcut, norm_layer=norm)
    rest = [block(channels, planes, norm_layer=norm) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)
