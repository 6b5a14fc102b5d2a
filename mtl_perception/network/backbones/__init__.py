"""Staged backbones, by the names that a config uses."""

from mtl_perception.network.backbones.contract import StagedBackbone
from mtl_perception.network.backbones.pooled_resnet3d import PooledResNet3d, ZeroPadResNet3d
from mtl_perception.network.backbones.resnet3d import ResNet3d

BACKBONES: dict[str, type[ResNet3d]] = {
    'resnet3d': ResNet3d,
    'resnet3d_pooled': PooledResNet3d,
    'resnet3d_zero_pad': ZeroPadResNet3d,
}

__all__ = [
    'BACKBONES',
    'PooledResNet3d',
    'ResNet3d',
    'StagedBackbone',
    'ZeroPadResNet3d',
    'build_backbone',
]


def build_backbone(name: str, *, depth: int, width: int, norm: str = 'batch') -> StagedBackbone:
    """Build the backbone that a config names."""
    if name not in BACKBONES:
        raise ValueError(f"Unknown backbone '{name}'; known backbones: {sorted(BACKBONES)}.")
    return BACKBONES[name](depth=depth, width=width, norm=norm)
