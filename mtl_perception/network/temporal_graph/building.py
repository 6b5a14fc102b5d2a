"""From the config of a network to its temporal graphs, their prototypes and what they ask for."""

from __future__ import annotations

from functools import partial
from typing import cast

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.sharing import SharingMethod
from mtl_perception.network.temporal_graph.config import (
    BackpackConfig,
    GraphConfig,
    MAX_INTERACTIONS,
)
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_perception.network.temporal_graph.sharing import build_graph_sharing, GraphSharing
from mtl_perception.network.temporal_graph.trunk import TemporalGraph
from mtl_perception.network.temporal_graph.window import window_of
from torch import nn


def build_graphs(config: NetworkConfig, trunk: str) -> GraphSharing:
    """
    Build a trunk of windows.

    :raises ValueError: If its sharing is unknown, or the backpack of a task does not fit.
    """
    graph = _graph_of(config, trunk)
    windows, num_interactions = {}, 0
    for task in config.tasks_of(trunk):
        settings = settings_of(task, config.tasks[task])
        if settings.backpack is not None:
            _check_backpack(config, task, settings.backpack)
            num_interactions += len(settings.backpack.tasks) * settings.backpack.num_layers
        windows[task] = window_of(settings)
    if num_interactions > MAX_INTERACTIONS:
        raise ValueError(
            f'the backpacks of all tasks must have at most {MAX_INTERACTIONS} interactions, as '
            f'many as known tasks times depth, got {num_interactions}.'
        )
    chosen = config.trunks[trunk]
    make_trunk = partial(TemporalGraph, graph)
    return build_graph_sharing(chosen.sharing, make_trunk, windows, **chosen.sharing_settings)


def build_prototypes(config: NetworkConfig, trunk: str) -> PrototypeBank | None:
    """Build the prototypes of a trunk of windows, if it is to have any."""
    graph = config.trunks[trunk].graph
    if graph is None or not (graph.known and graph.concepts):
        return None
    return PrototypeBank(graph.known, graph.concepts, graph.width)


def check_source(config: NetworkConfig, trunk: str, trunks: nn.ModuleDict) -> None:
    """
    Check that a trunk of windows reads what its source offers.

    :param trunks: The sharing methods of all trunks.
    :raises ValueError: If the features have another size.
    """
    graph = _graph_of(config, trunk)
    if not graph.source:
        return
    found = cast('SharingMethod', trunks[config.tasks[graph.source].trunk]).feature_dim
    if graph.feature_dim != found:
        raise ValueError(
            f"trunk '{trunk}': graph.feature_dim must be the {found} of the features of task "
            f"'{graph.source}', got {graph.feature_dim}."
        )


def _check_backpack(config: NetworkConfig, task: str, backpack: BackpackConfig) -> None:
    where = f'tasks.{task}.settings.backpack'
    trunk = config.tasks[task].trunk
    graph = _graph_of(config, trunk)
    if (sharing := config.trunks[trunk].sharing) != 'hard':
        raise ValueError(
            f"{where} needs the sharing 'hard': other tasks must understand the same nodes, got "
            f"'{sharing}'."
        )
    others = [name for name in config.tasks_of(trunk) if name != task]
    if strange := sorted({*backpack.tasks} - {*others}):
        raise ValueError(f'{where}.tasks must be others of its trunk, {others}, got {strange}.')
    if not backpack.num_layers:
        return
    if unknown := sorted({*backpack.tasks} - {*graph.known}):
        raise ValueError(
            f'{where}.tasks must have prototypes, as have {list(graph.known)} (graph.known of '
            f"the trunk '{trunk}'), got {unknown}."
        )
    if backpack.k > len(graph.concepts):
        raise ValueError(
            f'{where}.k must be at most the number of concepts, {len(graph.concepts)}, got '
            f'{backpack.k}.'
        )


def _graph_of(config: NetworkConfig, trunk: str) -> GraphConfig:
    graph = config.trunks[trunk].graph
    assert graph is not None
    return graph
