"""What ResNets of clips and of single frames have in common: their stages."""

from __future__ import annotations

from mtl_perception.network.backbones.contract import StagedBackbone
from torch import nn, Tensor


class ResidualStages(StagedBackbone):
    """A stem and four layers of residual blocks, averaged over time and space in the end."""

    stem: nn.Module

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the stem and the four layers."""
        names = ('stem', 'layer1', 'layer2', 'layer3', 'layer4')
        return [(name, getattr(self, name)) for name in names]

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """Return the stem and the residual blocks, ``layer1.0`` to the last of ``layer4``."""
        blocks: list[tuple[str, nn.Module]] = [('stem', self.stem)]
        for name, layer in self.stages()[1:]:
            blocks += [(f'{name}.{i}', block) for i, block in layer.named_children()]
        return blocks

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        """Average over time and space: ``[B, D, T, H, W]`` to ``[B, D]``."""
        return x.mean((2, 3, 4))
