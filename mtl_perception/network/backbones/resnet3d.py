"""ResNet-3D (Hara et al., 2018, arXiv 1711.09577) as torchvision builds it."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from mtl_perception.network.backbones.convolution import Conv3d
from mtl_perception.network.backbones.residual import ResidualStages
from torch import nn, Tensor

Norm = Callable[[int], nn.Module]
# Called with the channels before and after, the stride and the norm.
MakeShortcut = Callable[[int, int, int, Norm], nn.Module]

BLOCKS_PER_LAYER = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
MAX_GROUPS = 32  # Wu and He, 2018


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of at most 32 groups, with at least two channels in each."""
    return nn.GroupNorm(gcd(channels, min(MAX_GROUPS, max(1, channels // 2))), channels)


NORMS: dict[str, Norm] = {'batch': nn.BatchNorm3d, 'group': group_norm}


def projection(in_channels: int, channels: int, stride: int, norm: Norm) -> nn.Module:
    """Return the shortcut of a block that changes the size, of type B (He et al., 2016)."""
    return nn.Sequential(
        Conv3d(in_channels, channels, 1, stride=stride, bias=False), norm(channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions with a shortcut; names and order are those of torchvision."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm: Norm,
        make_shortcut: MakeShortcut | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            Conv3d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
            norm(channels),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            Conv3d(channels, channels, 3, padding=1, bias=False),
            norm(channels),
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            make = projection if make_shortcut is None else make_shortcut
            self.downsample = make(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; time, height and width are divided by the stride."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)).add_(shortcut))


class ResNet3d(ResidualStages):
    """
    ResNet-3D of 18 or 34 layers and any width (Hara et al., 2018).

    At depth 18 and width 64 its state dict is that of torchvision's ``r3d_18`` without ``fc``.
    Depth 34 has the same blocks, [3, 4, 6, 3] of them.
    """

    make_shortcut = staticmethod(projection)

    def __init__(self, depth: int = 18, width: int = 64, norm: str = 'batch') -> None:
        """
        Build the stages and initialise them as torchvision does.

        :param depth: 18 or 34.
        :param width: Channels of the stem and of the first layer; each later layer doubles them.
        :param norm: ``batch``, or ``group`` (Wu and He, 2018), which treats each clip by itself:
            the same in training and evaluation, whatever else is in the batch.
        """
        super().__init__()
        if depth not in BLOCKS_PER_LAYER:
            raise ValueError(f'depth must be one of {sorted(BLOCKS_PER_LAYER)}, got {depth}.')
        if width < 1:
            raise ValueError(f'width must be at least 1, got {width}.')
        if norm not in NORMS:
            raise ValueError(f'norm must be one of {sorted(NORMS)}, got {norm!r}.')
        make_norm = NORMS[norm]
        self.stem = self.make_stem(width, make_norm)
        blocks = BLOCKS_PER_LAYER[depth]
        self.layer1 = self._layer(width, width, blocks[0], 1, make_norm)
        self.layer2 = self._layer(width, 2 * width, blocks[1], 2, make_norm)
        self.layer3 = self._layer(2 * width, 4 * width, blocks[2], 2, make_norm)
        self.layer4 = self._layer(4 * width, 8 * width, blocks[3], 2, make_norm)
        self.feature_dim = 8 * width
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    @staticmethod
    def make_stem(width: int, norm: Norm) -> nn.Sequential:
        """Return what comes before the first layer."""
        return nn.Sequential(
            Conv3d(3, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
            norm(width),
            nn.ReLU(inplace=True),
        )

    def _layer(
        self, in_channels: int, channels: int, num_blocks: int, stride: int, norm: Norm
    ) -> nn.Sequential:
        first = BasicBlock(in_channels, channels, stride, norm, self.make_shortcut)
        return nn.Sequential(
            first, *(BasicBlock(channels, channels, 1, norm) for _ in range(num_blocks - 1))
        )
