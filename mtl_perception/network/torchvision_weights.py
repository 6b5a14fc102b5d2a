"""Pretrained weights of torchvision, loaded into the trunks and heads that they fit."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_retinanet import BODY_PREFIX, branch_weights
import torch
from torch import Tensor

HEAD_PREFIX = 'fc.'
# Kind of file -> what its backbone looks at.
KINDS = {'video ResNet': 'clip', 'ResNet': 'frame', 'RetinaNet': 'frame'}


def kind_of(state_dict: Mapping[str, Tensor]) -> str:
    """
    Tell a state dict of torchvision by its names.

    :return: One of :data:`KINDS`.
    :raises ValueError: If it is of none of them.
    """
    if any(name.startswith('stem.') for name in state_dict):
        return 'video ResNet'
    if 'conv1.weight' in state_dict:
        return 'ResNet'
    if f'{BODY_PREFIX}conv1.weight' in state_dict and any(
        name.startswith('head.classification_head.') for name in state_dict
    ):
        return 'RetinaNet'
    raise ValueError(
        f'the weights are of none of the known kinds, torchvision models of type {[*KINDS]}; '
        f'{_some("found", list(state_dict)) or "found nothing"}.'
    )


def load_torchvision_weights(
    network: MultiTaskNetwork,
    state_dict: Mapping[str, Tensor],
    trunk: str = 'clip',
    task: str | None = None,
) -> None:
    """
    Copy the state dict of a torchvision model into a network.

    A video ResNet fits a trunk of clips, a ResNet one of frames. A RetinaNet also brings pyramid
    and head of the task of detection, if the trunk has one; of its classes only the person stays.
    Everything is checked before anything is copied.

    :param network: Changed in place.
    :param state_dict: As from ``torchvision.models.video.r3d_18().state_dict()``.
    :param trunk: Name of the trunk; each of its copies gets the weights.
    :param task: Task whose head takes the classifier ``fc``; without it, ``fc`` is left out.
    :raises ValueError: If the kind, names, shapes or the number of labels don't fit.
    """
    copies = network.sharing(trunk).copies()
    kind, found = kind_of(state_dict), network.config.trunks[trunk].input
    if KINDS[kind] != found:
        raise ValueError(
            f"the weights are of a {kind}, for {KINDS[kind]}s; trunk '{trunk}' looks at {found}s."
        )
    if task is not None and task not in network.config.tasks_of(trunk):
        known = network.config.tasks_of(trunk)
        raise ValueError(f"Trunk '{trunk}' feeds no task '{task}'; its tasks: {known}.")
    body, rest = _split(kind, state_dict)
    head, weights = _head_weights(network, kind, trunk, task, rest)
    expected = {
        f'{path}.{key}': value
        for path, module in copies
        for key, value in module.state_dict().items()
    }
    _check_fit(f"trunk '{trunk}'", expected, body)
    _check_fit(f"the head of task '{head}'", _state_of(network, head), weights)
    for path, module in copies:
        _copy({f'{path}.{k}': value for k, value in module.state_dict().items()}, body)
    _copy(_state_of(network, head), weights)


def _split(
    kind: str, state_dict: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of the backbone, by its own names, and all others."""
    if kind == 'RetinaNet':
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
    if task is None:
        return None, {}
    if network.config.tasks[task].kind != 'classification':
        raise ValueError(
            f"the classifier of a {kind} is for labels of whole inputs, not for task '{task}' of "
            f'kind {network.config.tasks[task].kind}.'
        )
    return task, {k.removeprefix(HEAD_PREFIX): v for k, v in rest.items()}


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
