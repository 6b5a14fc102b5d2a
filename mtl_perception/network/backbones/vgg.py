"""VGG (Simonyan and Zisserman, 2015, arXiv 1409.1556) on the frames of a clip."""

from __future__ import annotations

from mtl_perception.network.backbones.framewise import FrameWise
from mtl_perception.network.backbones.plain import PlainNetwork
from mtl_perception.network.backbones.resnet3d import group_norm
from torch import nn

# The convolutions of each stage: configurations A, B, D and E of the paper.
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
MIN_SIDE = 32
OUTPUT_SIDE = 7  # of the maps that fc6 reads, whatever the size of the frames


class VGG(PlainNetwork):
    """
    VGG of 11 to 19 layers up to ``fc7``, on every frame by itself (Simonyan and Zisserman, 2015).

    The features of a clip are the mean of its frames'. At width 64 its weights are those of
    torchvision's ``vgg11`` to ``vgg19``, or ``vgg11_bn`` to ``vgg19_bn`` with ``norm: batch``, by
    other names. As there, frames of any size are pooled to 7x7 before ``fc6``.
    """

    sequence = FrameWise
    norms = {'batch': nn.BatchNorm2d, 'group': group_norm}

    def __init__(
        self,
        depth: int = 16,
        width: int = 64,
        norm: str = 'none',
        clip_size: tuple[int, int, int] = (1, 224, 224),
    ) -> None:
        """
        Build the stages.

        :param depth: 11, 13, 16 or 19.
        :param width: Channels of the first stage; all others grow with it.
        :param norm: ``none``, or ``batch`` or ``group`` after each convolution.
        :param clip_size: Frames, height and width of the clips.
        :raises ValueError: If a setting is out of range.
        """
        if depth not in CONVOLUTIONS:
            raise ValueError(f'depth must be one of {sorted(CONVOLUTIONS)}, got {depth}.')
        super().__init__(CONVOLUTIONS[depth], width, norm, clip_size)

    def make_convolution(self, in_channels: int, channels: int) -> nn.Module:
        """Return a convolution 3x3."""
        return nn.Conv2d(in_channels, channels, 3, padding=1)

    def make_pooling(self, number: int) -> nn.Module:
        """Return a pooling of 2x2."""
        return nn.MaxPool2d(2)

    def make_last_pooling(self) -> list[nn.Module]:
        """Return a pooling of 2x2 and the one to 7x7."""
        return [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(OUTPUT_SIDE)]

    def output_places(self, clip_size: tuple[int, int, int]) -> tuple[int, ...]:
        """Return 7x7."""
        _, height, width = clip_size
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f'frames must be at least {MIN_SIDE}x{MIN_SIDE} for the five poolings of VGG, '
                f'got {height}x{width}.'
            )
        return OUTPUT_SIDE, OUTPUT_SIDE
