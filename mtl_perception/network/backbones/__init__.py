"""Staged backbones, by the names that a config uses."""

from typing import Any

from mtl_perception.network.backbones.c3d import C3D
from mtl_perception.network.backbones.contract import StagedBackbone
from mtl_perception.network.backbones.plain import PlainNetwork
from mtl_perception.network.backbones.pooled_resnet3d import PooledResNet3d, ZeroPadResNet3d
from mtl_perception.network.backbones.resnet3d import ResNet3d
from mtl_perception.network.backbones.resnet_image import ImageResNet
from mtl_perception.network.backbones.vgg import VGG

BACKBONES: dict[str, type[StagedBackbone]] = {
    'resnet3d': ResNet3d,
    'resnet3d_pooled': PooledResNet3d,
    'resnet3d_zero_pad': ZeroPadResNet3d,
    'c3d': C3D,
    'vgg': VGG,
    'resnet_image': ImageResNet,
}

__all__ = [
    'BACKBONES',
    'C3D',
    'VGG',
    'ImageResNet',
    'PooledResNet3d',
    'ResNet3d',
    'StagedBackbone',
    'ZeroPadResNet3d',
    'build_backbone',
]


def build_backbone(
    name: str,
    *,
    depth: int,
    width: int,
    norm: str = 'batch',
    clip_size: tuple[int, int, int] | None = None,
) -> StagedBackbone:
    """
    Build the backbone that a config names.

    :param clip_size: Frames, height and width of the clips. Those with fully connected layers
        must know them; None means the size that they were published with.
    """
    if name not in BACKBONES:
        raise ValueError(f"Unknown backbone '{name}'; known backbones: {sorted(BACKBONES)}.")
    settings: dict[str, Any] = {'depth': depth, 'width': width, 'norm': norm}
    if clip_size is not None and issubclass(BACKBONES[name], PlainNetwork):
        settings['clip_size'] = clip_size
    return BACKBONES[name](**settings)
