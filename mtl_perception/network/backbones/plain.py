"""What convolutional networks without shortcuts have in common: C3D and VGG."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod

from mtl_perception.network.backbones.contract import StagedBackbone
from mtl_perception.network.backbones.resnet3d import Norm
from torch import nn, Tensor

DROPOUT = 0.5
FC_PER_WIDTH = 64  # 4096 values at width 64


class PlainNetwork(StagedBackbone):
    """
    Five stages of 3x3 convolutions and two fully connected layers, with poolings between.

    ``conv1`` to ``conv5`` have ``width`` channels times 1, 2, 4, 8 and 8; ``fc6`` and ``fc7`` have
    ``64 * width`` values. A pooling is the first thing of the stage that follows it, so all blocks
    of a stage have outputs of one size. Fully connected layers are stages like the others, of
    outputs that are one pixel large, ``[B, D, T, 1, 1]``: whatever mixes, gates or attends to maps
    takes theirs too. Dropout follows both of them, in training only.
    """

    sequence: type[nn.Sequential]  # what the layers of a block are put into
    norms: Mapping[str, Norm]

    def __init__(
        self,
        counts: Sequence[int],
        width: int,
        norm: str,
        clip_size: tuple[int, int, int],
    ) -> None:
        """
        Build the stages and initialise them by the rule of He et al. (2015).

        :param counts: Convolutions of each of the five stages.
        :param norm: ``none``, as published, or what comes after each convolution.
        :param clip_size: Frames, height and width of the clips.
        """
        super().__init__()
        if width < 1:
            raise ValueError(f'width must be at least 1, got {width}.')
        if norm != 'none' and norm not in self.norms:
            raise ValueError(f'norm must be one of {["none", *self.norms]}, got {norm!r}.')
        self.clip_size = clip_size
        channels = [3, *(width * factor for factor in (1, 2, 4, 8, 8))]
        for i, count in enumerate(counts, 1):
            blocks = [self._block(i, channels[i - 1], channels[i], norm)]
            blocks += [self._block(None, channels[i], channels[i], norm) for _ in range(count - 1)]
            setattr(self, f'conv{i}', nn.Sequential(*blocks))
        self.feature_dim = FC_PER_WIDTH * width
        places = self.output_places(clip_size)
        self.fc6 = self._fully_connected(channels[-1] * prod(places), self.make_last_pooling())
        self.fc7 = self._fully_connected(self.feature_dim, [])
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, nn.Linear):
                # At width 64 about the 0.01 of torchvision; narrow layers need more.
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
            bias = getattr(module, 'bias', None)
            if bias is not None:
                nn.init.zeros_(bias)

    @abstractmethod
    def make_convolution(self, in_channels: int, channels: int) -> nn.Module:
        """Return a convolution that keeps the size."""

    @abstractmethod
    def make_pooling(self, number: int) -> nn.Module:
        """Return the pooling after stage 1, 2, 3 or 4."""

    @abstractmethod
    def make_last_pooling(self) -> list[nn.Module]:
        """Return what comes between ``conv5`` and ``fc6``."""

    @abstractmethod
    def output_places(self, clip_size: tuple[int, int, int]) -> tuple[int, ...]:
        """
        Return the size of what ``fc6`` reads.

        :raises ValueError: If clips of this size are too small.
        """

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return ``conv1`` to ``conv5``, ``fc6`` and ``fc7``."""
        names = (*(f'conv{i}' for i in range(1, 6)), 'fc6', 'fc7')
        return [(name, getattr(self, name)) for name in names]

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """Return the convolutions, ``conv1.0`` to the last of ``conv5``, ``fc6`` and ``fc7``."""
        blocks = []
        for name, stage in self.stages():
            if name.startswith('conv'):
                blocks += [(f'{name}.{i}', block) for i, block in stage.named_children()]
            else:
                blocks.append((name, stage))
        return blocks

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        """Average over time and space, if there is more than one place: ``[B, D]``."""
        return x.mean((2, 3, 4))

    def _block(
        self, stage: int | None, in_channels: int, channels: int, norm: str
    ) -> nn.Sequential:
        """Return a convolution with what is around it; ``stage`` is given for its first one."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if stage is not None and stage > 1:
            layers['pooling'] = self.make_pooling(stage - 1)
        layers['conv'] = self.make_convolution(in_channels, channels)
        if norm != 'none':
            layers['norm'] = self.norms[norm](channels)
        layers['relu'] = nn.ReLU(inplace=True)
        return self.sequence(layers)

    def _fully_connected(self, in_features: int, before: list[nn.Module]) -> nn.Sequential:
        """Return a layer that flattens what it gets, and gives a map of one pixel."""
        layers = OrderedDict((f'pooling{i}', module) for i, module in enumerate(before))
        layers['flatten'] = nn.Flatten()
        layers['fc'] = nn.Linear(in_features, self.feature_dim)
        layers['relu'] = nn.ReLU(inplace=True)
        layers['dropout'] = nn.Dropout(DROPOUT)
        ones = (1,) * len(self.output_places(self.clip_size))
        layers['unflatten'] = nn.Unflatten(1, (self.feature_dim, *ones))
        return self.sequence(layers)
