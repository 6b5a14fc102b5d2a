"""Starting from another checkpoint: its trunks and heads of the same names."""

from __future__ import annotations

from collections.abc import Mapping
import logging
from typing import Any

from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.network.config import NetworkConfig, to_mapping
from mtl_perception.network.heads import settings_of
from mtl_perception.network.multitask import MultiTaskNetwork
from torch import Tensor

_LOGGER = logging.getLogger(__name__)
# How large pictures are; another size is what fine-tuning is often for.
_SIZES = ('preprocessing.resize', 'preprocessing.crop')
# Of a temporal graph: what concerns its prototypes, not its weights.
_OF_PROTOTYPES = ('known', 'concepts')


def load_parts(network: MultiTaskNetwork, path: str, *, prototypes: bool = True) -> list[str]:
    """
    Give a network the trunks, heads and prototypes that a checkpoint has under the same names.

    Everything is checked before anything is copied. Settings that weights don't show, such as the
    scale of anchors or the mean of pictures, may differ, with a warning.

    :param prototypes: Whether to take these, too; the checkpoint may have those of more tasks.
    :return: The names of these parts, as ``trunks.clip`` or ``heads.action``.
    :raises ValueError: If the file is no checkpoint, a part of the same name has another shape or
        labels, or no part has a name of the checkpoint's.
    """
    checkpoint = load_checkpoint(path)
    theirs = checkpoint.state_dict
    parts = [
        f'{kind}.{name}'
        for kind in ('trunks', 'heads', *(['prototypes'] if prototypes else []))
        for name in getattr(network, kind)
        if any(key.startswith(f'{kind}.{name}.') for key in theirs)
    ]
    if not parts:
        raise ValueError(
            f"init_checkpoint '{path}' has no trunk or task of this network; it has the trunks "
            f'{[*checkpoint.config.trunks]} and the tasks {[*checkpoint.config.tasks]}.'
        )
    for part in parts:
        _check(network, part, path, theirs, checkpoint.config)
    for part in parts:
        given, ours = (_settings(part, config) for config in (checkpoint.config, network.config))
        differing = [
            f'{name} {value} (here {ours.get(name)})'
            for name, value in given.items()
            if value != ours.get(name) and name not in _SIZES
        ]
        if differing:
            _LOGGER.warning(
                "init_checkpoint '%s' was trained with other settings of %s: %s.",
                path,
                part,
                ', '.join(differing),
            )
        module = network.get_submodule(part)
        prefix = f'{part}.'
        module.load_state_dict({key: theirs[prefix + key] for key in module.state_dict()})
    return parts


def trunks_of(path: str) -> list[str]:
    """
    Return the names of the trunks that a checkpoint has.

    :raises ValueError: If the file is no checkpoint.
    """
    config = load_checkpoint(path).config
    return [name for name in config.trunks if config.tasks_of(name)]


def _check(
    network: MultiTaskNetwork,
    part: str,
    path: str,
    theirs: Mapping[str, Tensor],
    config: NetworkConfig,
) -> None:
    ours = {
        f'{part}.{key}': value for key, value in network.get_submodule(part).state_dict().items()
    }
    given = {key: value for key, value in theirs.items() if key.startswith(f'{part}.')}
    where = f"init_checkpoint '{path}' does not fit '{part}'"
    more = given.keys() - ours.keys() if part.startswith('prototypes.') else set()
    if missing := sorted((ours.keys() ^ given.keys()) - more):
        raise ValueError(f"{where}: '{missing[0]}' is in one of them only.")
    for key, value in ours.items():
        if value.shape != given[key].shape:
            raise ValueError(
                f"{where}: '{key}' has shape {tuple(given[key].shape)}, the network expects "
                f'{tuple(value.shape)}.'
            )
    for entry, value in _meanings(part, network.config).items():
        if (other := _meanings(part, config)[entry]) != value:
            raise ValueError(f'{where}: its {entry} are {other}, not {value}.')


def _meanings(part: str, config: NetworkConfig) -> dict[str, Any]:
    """Return what the rows of the tensors of a part stand for."""
    kind, _, name = part.partition('.')
    if kind == 'heads':
        task = config.tasks[name]
        groups = {group: [*labels] for group, labels in task.groups.items()}
        return {'labels': [*task.labels], 'groups': groups}
    graph = config.trunks[name].graph
    return {'concepts': [*graph.concepts]} if kind == 'prototypes' and graph else {}


def _settings(part: str, config: NetworkConfig) -> dict[str, Any]:
    kind, _, name = part.partition('.')
    if kind == 'trunks':
        settings = to_mapping(config.trunks[name])
        inner = settings.pop('preprocessing')
        graph = settings.pop('graph') or {}
        return (
            settings
            | {f'preprocessing.{key}': value for key, value in inner.items()}
            | {f'graph.{key}': graph[key] for key in graph if key not in _OF_PROTOTYPES}
        )
    if kind == 'prototypes':
        return {}
    task = config.tasks[name]
    return {} if task.kind == 'classification' else to_mapping(settings_of(name, task))
