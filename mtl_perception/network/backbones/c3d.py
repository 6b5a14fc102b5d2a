"""C3D (Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, 2015)."""

from __future__ import annotations

from mtl_perception.network.backbones.convolution import Conv3d
from mtl_perception.network.backbones.plain import PlainNetwork
from mtl_perception.network.backbones.resnet3d import NORMS
from torch import nn

DEPTH = 11  # with the classifier
MIN_SIDE = 16  # in time and space: the last pooling pads what is one pixel large


class C3D(PlainNetwork):
    """
    C3D, eight 3x3x3 convolutions and two fully connected layers (Tran et al., ICCV 2015).

    The first pooling leaves time as it is and the last one pads height and width by one, as in
    the published network: clips of 16 frames of 112x112 enter ``fc6`` as 512 maps of 1x4x4, 8192
    values. Other sizes have an ``fc6`` of another size. At width 64 and without norms its weights
    are those of files with the names ``conv1``, ``conv2``, ``conv3a`` to ``conv5b``, ``fc6`` and
    ``fc7``, the common layout of the Sports-1M weights in PyTorch.
    """

    sequence = nn.Sequential
    norms = NORMS

    def __init__(
        self,
        depth: int = DEPTH,
        width: int = 64,
        norm: str = 'none',
        clip_size: tuple[int, int, int] = (16, 112, 112),
    ) -> None:
        """
        Build the stages.

        :param depth: 11; there is no other.
        :param width: Channels of the first stage; all others grow with it.
        :param norm: ``none`` as published, or ``batch`` or ``group`` after each convolution.
        :param clip_size: Frames, height and width of the clips; it decides the size of ``fc6``.
        :raises ValueError: If a setting is out of range.
        """
        if depth != DEPTH:
            raise ValueError(f'depth must be {DEPTH}, the one of C3D, got {depth}.')
        super().__init__((1, 1, 2, 2, 2), width, norm, clip_size)

    def make_convolution(self, in_channels: int, channels: int) -> nn.Module:
        """Return a convolution 3x3x3."""
        return Conv3d(in_channels, channels, 3, padding=1)

    def make_pooling(self, number: int) -> nn.Module:
        """Return a pooling of 2x2x2, or of 1x2x2 after the first stage."""
        return nn.MaxPool3d((1, 2, 2) if number == 1 else 2)

    def make_last_pooling(self) -> list[nn.Module]:
        """Return a pooling of 2x2x2 that pads height and width."""
        return [nn.MaxPool3d(2, padding=(0, 1, 1))]

    def output_places(self, clip_size: tuple[int, int, int]) -> tuple[int, ...]:
        """Return frames, height and width of the last pooling's output."""
        if min(clip_size) < MIN_SIDE:
            frames, height, width = clip_size
            raise ValueError(
                f'clips must have at least {MIN_SIDE} frames of {MIN_SIDE}x{MIN_SIDE} for the '
                f'five poolings of C3D, got num_frames {frames} and frames of {height}x{width}.'
            )
        frames, height, width = (side // 16 for side in clip_size)
        return frames, height // 2 + 1, width // 2 + 1
