"""Published state dicts of VGG and C3D: their names, and what they fit."""

from __future__ import annotations

from collections.abc import Mapping
import re

from mtl_perception.network.backbones.vgg import CONVOLUTIONS
from mtl_perception.network.config import TrunkConfig
from torch import Tensor

VGG, C3D = 'VGG', 'C3D'
# Theirs to ours; the classifier becomes `fc`, as ResNets have it.
_VGG_LAYERS = {'classifier.0': 'fc6.fc', 'classifier.3': 'fc7.fc', 'classifier.6': 'fc'}
_C3D_LAYERS = {'fc6': 'fc6.fc', 'fc7': 'fc7.fc', 'fc8': 'fc'}


def kind_of(state_dict: Mapping[str, Tensor]) -> str | None:
    """Tell torchvision's VGG, and C3D by the names ``conv1`` to ``fc8``; None for others."""
    if 'conv3a.weight' in state_dict:
        return C3D
    first = state_dict.get('features.0.weight')
    if first is not None and first.ndim == 4 and 'classifier.0.weight' in state_dict:
        return VGG
    return None


def check_trunk(
    kind: str, state_dict: Mapping[str, Tensor], trunk: str, config: TrunkConfig
) -> None:
    """
    Check that a trunk of the right backbone computes what the weights were trained for.

    :param trunk: Its name, for messages.
    :raises ValueError: If it has another depth or other norms.
    """
    depth, norm = config.depth, 'none'
    if kind == VGG:
        depth = len(_convolutions(state_dict)) + 3
        norm = 'batch' if any(name.endswith('running_mean') for name in state_dict) else 'none'
    if (config.depth, config.norm) != (depth, norm):
        raise ValueError(
            f"the weights are of a {kind}: trunk '{trunk}' must have the depth {depth} and the "
            f'norm {norm}, it has {config.depth} and {config.norm}.'
        )


def renamed(kind: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by the names of our backbones, and the classifier as ``fc``."""
    layers = _vgg_layers(state_dict) if kind == VGG else _C3D_LAYERS
    new = {}
    for name, value in state_dict.items():
        layer, _, tensor = name.rpartition('.')
        new[f'{layers.get(layer, _c3d_layer(layer))}.{tensor}'] = value
    return new


def _c3d_layer(name: str) -> str:
    match = re.fullmatch(r'conv(\d)([ab]?)', name)
    return f'conv{match[1]}.{int(match[2] == "b")}.conv' if match else name


def _vgg_layers(state_dict: Mapping[str, Tensor]) -> dict[str, str]:
    """Return our name of each layer; theirs counts poolings and activations too."""
    numbers = _convolutions(state_dict)
    counts = CONVOLUTIONS[len(numbers) + 3]
    blocks = [f'conv{i}.{j}' for i, count in enumerate(counts, 1) for j in range(count)]
    layers = dict(_VGG_LAYERS)
    for number, block in zip(numbers, blocks):
        layers[f'features.{number}'] = f'{block}.conv'
        layers[f'features.{number + 1}'] = f'{block}.norm'
    return layers


def _convolutions(state_dict: Mapping[str, Tensor]) -> list[int]:
    """Return the numbers of the convolutions of a VGG."""
    return sorted(
        int(match[1])
        for name, value in state_dict.items()
        if (match := re.fullmatch(r'features\.(\d+)\.weight', name)) and value.ndim == 4
    )
