"""The state dict of torchvision's RetinaNet: its names, and the network that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import re

from mtl_perception.network.backbones.resnet2d import BLOCKS
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.pose.detection import NUM_ANCHORS
from torch import Tensor
from torchvision.models.resnet import Bottleneck

BODY_PREFIX = 'backbone.body.'
CLASSIFIER = 'head.classification_head.cls_logits'
TOWER = 'head.classification_head.conv'
# Of COCO in torchvision: 0 is unused, 1 the person.
PERSON = 1
COCO_CLASSES = 91
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def branch_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Return the weights of pyramid and head by the names of a :class:`DetectionBranch`.

    :param state_dict: Of torchvision's ``retinanet_resnet50_fpn`` or ``_v2``, also by the names
        that it had before version 0.13, as its published weights have them.
    :raises ValueError: If which of its classes is the person is not known.
    """
    named = {_current_name(k): v for k, v in state_dict.items() if not k.startswith(BODY_PREFIX)}
    weights = {name.removeprefix('backbone.'): value for name, value in named.items()}
    for name in (f'{CLASSIFIER}.weight', f'{CLASSIFIER}.bias'):
        if name in weights:
            weights[name] = _of_person(weights[name])
    return weights


def pyramid_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the pyramid of a detector, ``fpn.*``, by torchvision's new names."""
    named = {_current_name(name).removeprefix('backbone.'): v for name, v in state_dict.items()}
    return {name: value for name, value in named.items() if name.startswith('fpn.')}


def retinanet_config(
    state_dict: Mapping[str, Tensor], *, size: tuple[int, int], norm_eps: float | None = None
) -> NetworkConfig:
    """
    Return the network of detection that a RetinaNet's weights ask for.

    :param size: Height and width of the network's input; camera images are fitted into it.
    :param norm_eps: Of the backbone's batch norms, which no file tells. None takes that of
        torchvision's COCO weights: 0 for ``retinanet_resnet50_fpn``, 1e-5 for ``_v2``.
    :raises ValueError: If the weights lack what tells the network, or the size is refused.
    """
    weights = {
        _current_name(name).removeprefix('backbone.'): value for name, value in state_dict.items()
    }
    channels = _shape(weights, f'{CLASSIFIER}.weight')[1]
    # By the channels, as torchvision decides it.
    is_from_p5 = _shape(weights, 'fpn.extra_blocks.p6.weight')[1] == channels
    if norm_eps is None:
        norm_eps = 0.0 if is_from_p5 else 1e-5
    trunk = TrunkConfig(
        backbone='resnet2d',
        depth=_depth(weights),
        width=_shape(weights, 'body.conv1.weight')[0],
        norm_eps=norm_eps,
        preprocessing=PreprocessingConfig(
            resize=size, fit='pad', mean=IMAGENET_MEAN, std=IMAGENET_STD
        ),
    )
    settings = {
        'channels': channels,
        'num_convs': _count(weights, rf'{re.escape(TOWER)}\.(\d+)\.0\.weight'),
        'norm': 'group' if f'{TOWER}.0.1.weight' in weights else 'none',
        'p6_from': 'p5' if is_from_p5 else 'c5',
    }
    task = TaskConfig(kind='detection', trunk='frame', settings=settings)
    config = NetworkConfig(trunks={'frame': trunk}, tasks={'person': task})
    return counting_from_corner(config, 'person')


def counting_from_corner(config: NetworkConfig, name: str) -> NetworkConfig:
    """Return a config whose task of detection has torchvision's boxes: from the image's corner."""
    task = config.tasks[name]
    task = replace(task, settings={**task.settings, 'origin': 'corner'})
    return replace(config, tasks={**config.tasks, name: task})


def _current_name(name: str) -> str:
    name = re.sub(r'(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$', r'\1.0.\2', name)
    # Every second place of the old towers held an activation.
    old = re.fullmatch(r'(head\.\w+\.conv)\.(\d+)\.(weight|bias)', name)
    return f'{old[1]}.{int(old[2]) // 2}.0.{old[3]}' if old else name


def _of_person(value: Tensor) -> Tensor:
    """Return the rows of the person, of the classes of all anchors."""
    classes, is_ragged = divmod(len(value), NUM_ANCHORS)
    if is_ragged or classes not in (1, 2, COCO_CLASSES):
        raise ValueError(
            f'the weights must score one class, two or the {COCO_CLASSES} of COCO at '
            f"{NUM_ANCHORS} anchors, '{CLASSIFIER}' has {len(value)} outputs."
        )
    return value.unflatten(0, (NUM_ANCHORS, classes))[:, PERSON if classes > 1 else 0]


def _depth(weights: Mapping[str, Tensor]) -> int:
    is_bottleneck = 'body.layer1.0.conv3.weight' in weights
    counts = tuple(_count(weights, rf'body\.layer{i}\.(\d+)\.conv1\.weight') for i in range(1, 5))
    for depth, (block, blocks) in BLOCKS.items():
        if (issubclass(block, Bottleneck), blocks) == (is_bottleneck, counts):
            return depth
    raise ValueError(f'the weights have layers of {counts} blocks: no ResNet has them.')


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in weights)


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in weights or weights[name].ndim != 4:
        raise ValueError(f"the weights of a RetinaNet must have a convolution '{name}'.")
    return tuple(weights[name].shape)
