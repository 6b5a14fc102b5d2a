"""Published weights, most of them torchvision's, loaded into what they fit."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network import hara_resnet3d, plain_weights
from mtl_perception.network.config import TrunkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_retinanet import (
    BODY_PREFIX,
    branch_weights,
    pyramid_weights,
)
import torch
from torch import Tensor

HEAD_PREFIX = 'fc.'
_VIDEO_RESNETS = ('resnet3d', 'resnet3d_pooled', 'resnet3d_zero_pad')
# Kind of file -> the backbones that it may be for.
KINDS = {
    'video ResNet': _VIDEO_RESNETS,
    hara_resnet3d.KIND: _VIDEO_RESNETS,
    plain_weights.C3D: ('c3d',),
    plain_weights.VGG: ('vgg',),
    'ResNet': ('resnet2d', 'resnet_image'),
    'RetinaNet': ('resnet2d',),
    'Keypoint R-CNN': ('resnet2d',),
}
# What tells them apart, on the same backbone.
_DETECTORS = {
    'RetinaNet': 'head.classification_head.',
    'Keypoint R-CNN': 'roi_heads.keypoint_predictor.',
}


def kind_of(state_dict: Mapping[str, Tensor]) -> str:
    """
    Tell a state dict of torchvision, of the 3D-ResNets or of C3D, by its names.

    :return: One of :data:`KINDS`.
    :raises ValueError: If it is of none of them.
    """
    if any(name.startswith('stem.') for name in state_dict):
        return 'video ResNet'
    if (plain := plain_weights.kind_of(state_dict)) is not None:
        return plain
    if 'conv1.weight' in state_dict:
        return hara_resnet3d.KIND if state_dict['conv1.weight'].ndim == 5 else 'ResNet'
    if f'{BODY_PREFIX}conv1.weight' in state_dict:
        for kind, prefix in _DETECTORS.items():
            if any(name.startswith(prefix) for name in state_dict):
                return kind
    raise ValueError(
        f'the weights are of none of the known kinds, models of type {[*KINDS]}; '
        f'{_some("found", list(state_dict)) or "found nothing"}.'
    )


def backbones_for(kind: str) -> str:
    """Return the backbones that weights of a kind may be for, for messages."""
    return ' or '.join(KINDS[kind])


def load_torchvision_weights(
    network: MultiTaskNetwork,
    state_dict: Mapping[str, Tensor],
    trunk: str = 'clip',
    task: str | None = None,
) -> str | None:
    """
    Copy the state dict of a torchvision model, of a 3D-ResNet or of C3D, into a network.

    A video ResNet, a 3D-ResNet, a VGG or C3D fits a trunk of clips; a ResNet one of frames, or one
    of clips that looks at each frame by itself (``resnet_image``). A RetinaNet also
    brings pyramid and head of the task of detection, if the trunk has one; of its classes only
    the person stays. A Keypoint R-CNN brings the pyramid of the task of keypoints, if the trunk
    has one of its size. Everything is checked before anything is copied.

    :param network: Changed in place.
    :param state_dict: As from ``torchvision.models.video.r3d_18().state_dict()``.
    :param trunk: Name of the trunk; each of its copies gets the weights.
    :param task: Task whose head takes the classifier; without it, that is left out.
    :return: The task whose head took weights, if any did.
    :raises ValueError: If the kind, names, shapes or the number of labels don't fit.
    """
    copies = network.sharing(trunk).copies()
    kind, config = kind_of(state_dict), network.config.trunks[trunk]
    if config.backbone not in KINDS[kind]:
        raise ValueError(
            f'the weights are of a {kind}, for the backbone {backbones_for(kind)}; trunk '
            f"'{trunk}' has {config.backbone}."
        )
    if task is not None and task not in network.config.tasks_of(trunk):
        known = network.config.tasks_of(trunk)
        raise ValueError(f"Trunk '{trunk}' feeds no task '{task}'; its tasks: {known}.")
    body, rest = _split(kind, _renamed(kind, state_dict, trunk, config))
    head, weights = _head_weights(network, kind, trunk, task, rest)
    expected = {
        f'{path}.{key}': value
        for path, module in copies
        for key, value in module.state_dict().items()
    }
    _check_fit(f"trunk '{trunk}'", expected, body)
    taken = _state_of(network, head)
    if kind == 'Keypoint R-CNN':
        taken = {name: value for name, value in taken.items() if name in weights}
    _check_fit(f"the head of task '{head}'", taken, weights)
    for path, module in copies:
        _copy({f'{path}.{k}': value for k, value in module.state_dict().items()}, body)
    _copy(taken, weights)
    return head


def _renamed(
    kind: str, state_dict: Mapping[str, Tensor], trunk: str, config: TrunkConfig
) -> Mapping[str, Tensor]:
    """Return the weights by the names of our backbones; refuse those of other settings."""
    if kind == hara_resnet3d.KIND:
        hara_resnet3d.check_backbone(state_dict, trunk, config.backbone)
        return hara_resnet3d.renamed(state_dict)
    if kind in (plain_weights.VGG, plain_weights.C3D):
        plain_weights.check_trunk(kind, state_dict, trunk, config)
        return plain_weights.renamed(kind, state_dict)
    if config.backbone == 'resnet_image':
        stem = ('conv1.', 'bn1.')
        return {f'stem.{k}' if k.startswith(stem) else k: v for k, v in state_dict.items()}
    return state_dict


def _split(
    kind: str, state_dict: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of the backbone, by its own names, and all others."""
    if kind in _DETECTORS:
        body = {k: v for k, v in state_dict.items() if k.startswith(BODY_PREFIX)}
        rest = {k: v for k, v in state_dict.items() if k not in body}
        return {k.removeprefix(BODY_PREFIX): v for k, v in body.items()}, rest
    rest = {k: v for k, v in state_dict.items() if k.startswith(HEAD_PREFIX)}
    return {k: v for k, v in state_dict.items() if k not in rest}, rest


def _head_weights(
    network: MultiTaskNetwork,
    kind: str,
    trunk: str,
    task: str | None,
    rest: Mapping[str, Tensor],
) -> tuple[str | None, dict[str, Tensor]]:
    """Return the task whose head takes weights, if any, and these weights by its names."""
    if kind == 'RetinaNet':
        detection = network.config.task_of_kind('detection')
        if task not in (None, detection):
            raise ValueError(f"the weights of a RetinaNet are for detection, not for '{task}'.")
        is_fed = detection in network.config.tasks_of(trunk)
        return (detection, branch_weights(rest)) if is_fed else (None, {})
    if kind == 'Keypoint R-CNN':
        return _pyramid(network, trunk, task, rest)
    if task is None:
        return None, {}
    if network.config.tasks[task].kind != 'classification':
        raise ValueError(
            f"the classifier of a {kind} is for labels of whole inputs, not for task '{task}' of "
            f'kind {network.config.tasks[task].kind}.'
        )
    return task, {k.removeprefix(HEAD_PREFIX): v for k, v in rest.items()}


def _pyramid(
    network: MultiTaskNetwork, trunk: str, task: str | None, rest: Mapping[str, Tensor]
) -> tuple[str | None, dict[str, Tensor]]:
    """Return the task of keypoints and the weights of its pyramid, if there is one that fits."""
    keypoints = network.config.task_of_kind('keypoints')
    if task not in (None, keypoints):
        raise ValueError(f"the weights of a Keypoint R-CNN are for keypoints, not for '{task}'.")
    if keypoints is None or keypoints not in network.config.tasks_of(trunk):
        return None, {}
    ours = {k: v for k, v in _state_of(network, keypoints).items() if k.startswith('fpn.')}
    theirs = {name: value for name, value in pyramid_weights(rest).items() if name in ours}
    fits = all(name in theirs and theirs[name].shape == ours[name].shape for name in ours)
    return (keypoints, theirs) if fits else (None, {})


def _state_of(network: MultiTaskNetwork, head: str | None) -> dict[str, Tensor]:
    # What it returns shares the memory of the module.
    return {} if head is None else network.heads[head].state_dict()


@torch.no_grad()
def _copy(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name in state.keys() & weights.keys():
        state[name].copy_(weights[name])


def _check_fit(name: str, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    # Weights saved before PyTorch 0.4.1 have no such counters, and nothing here reads them.
    required = {key for key in expected if not key.endswith('num_batches_tracked')}
    missing, extra = sorted(required - set(weights)), sorted(set(weights) - set(expected))
    if missing or extra:
        raise ValueError(
            f'the weights do not fit {name}: {_some("missing", missing)}'
            f'{"; " if missing and extra else ""}{_some("unexpected", extra)}.'
        )
    for key, value in weights.items():
        if value.shape != expected[key].shape:
            raise ValueError(
                f"the weights do not fit {name}: '{key}' has shape {tuple(value.shape)}, "
                f'the network expects {tuple(expected[key].shape)}.'
            )
        if not value.isfinite().all():
            raise ValueError(f"the weights do not fit {name}: '{key}' has non-finite values.")


def _some(kind: str, keys: list[str]) -> str:
    if not keys:
        return ''
    more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
    return f'{kind} {keys[:3]}{more}'
