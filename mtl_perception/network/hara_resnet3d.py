"""Published state dicts of 3D-ResNets (Hara et al., 2018): their names, and what they fit."""

from __future__ import annotations

from collections.abc import Mapping
import re

from torch import Tensor

KIND = '3D-ResNet'
# By whether the shortcuts that change the size have weights (type B) or not (type A).
BACKBONES = {True: 'resnet3d_pooled', False: 'resnet3d_zero_pad'}


def check_backbone(state_dict: Mapping[str, Tensor], trunk: str, backbone: str) -> None:
    """
    Check that a trunk's backbone computes what the weights were trained for.

    :param trunk: Its name, for messages.
    :raises ValueError: If it does not, or no backbone here does.
    """
    if 'layer1.0.conv3.weight' in state_dict:
        raise ValueError(
            f'the weights are of a {KIND} with bottleneck blocks (50 layers or more), which no '
            'backbone here has; those of 18 and 34 layers can be taken.'
        )
    is_projected = 'layer2.0.downsample.0.weight' in state_dict
    wanted = BACKBONES[is_projected]
    if backbone != wanted:
        raise ValueError(
            f'the weights are of a {KIND}, with a stem of 7x7x7, max-pooling and shortcuts of '
            f"type {'B' if is_projected else 'A'}: trunk '{trunk}' must have the backbone "
            f'{wanted}, it has {backbone}.'
        )


def renamed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by the names of our ResNet-3D; the classifier ``fc`` keeps its name."""
    return {_name(name): value for name, value in state_dict.items()}


def _name(name: str) -> str:
    name = re.sub(r'^(layer\d\.\d+)\.conv(\d)\.', r'\1.conv\2.0.', name)
    name = re.sub(r'^(layer\d\.\d+)\.bn(\d)\.', r'\1.conv\2.1.', name)
    return re.sub(r'^bn1\.', 'stem.1.', re.sub(r'^conv1\.', 'stem.0.', name))
