"""Pretrained weights of torchvision's ResNet-3D, loaded into every copy of a trunk."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network.multitask import MultiTaskNetwork
from torch import Tensor

HEAD_PREFIX = 'fc.'


def load_torchvision_weights(
    network: MultiTaskNetwork,
    state_dict: Mapping[str, Tensor],
    trunk: str = 'clip',
    task: str | None = None,
) -> None:
    """
    Copy the state dict of a torchvision video ResNet into a network.

    Everything is checked before anything is copied.

    :param network: Changed in place.
    :param state_dict: As from ``torchvision.models.video.r3d_18().state_dict()``.
    :param trunk: Name of the trunk; each of its copies gets the weights.
    :param task: Task whose head takes the classifier ``fc``; without it, ``fc`` is left out.
    :raises ValueError: If names, shapes or the number of labels don't fit.
    """
    body = {k: v for k, v in state_dict.items() if not k.startswith(HEAD_PREFIX)}
    fc = {k[len(HEAD_PREFIX) :]: v for k, v in state_dict.items() if k.startswith(HEAD_PREFIX)}
    copies = network.sharing(trunk).copies()
    expected = {
        f'{path}.{key}': value
        for path, module in copies
        for key, value in module.state_dict().items()
    }
    _check_fit(f"trunk '{trunk}'", expected, body)
    if task is not None:
        if network.config.tasks.get(task) is None or network.config.tasks[task].trunk != trunk:
            known = network.config.tasks_of(trunk)
            raise ValueError(f"Trunk '{trunk}' feeds no task '{task}'; its tasks: {known}.")
        _check_fit(f"the head of task '{task}'", network.heads[task].state_dict(), fc)
        network.heads[task].load_state_dict(fc)
    for path, module in copies:
        prefix = f'{path}.'
        part = {k[len(prefix) :]: v for k, v in body.items() if k.startswith(prefix)}
        module.load_state_dict(part, strict=False)


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
