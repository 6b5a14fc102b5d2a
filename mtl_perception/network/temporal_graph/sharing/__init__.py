"""Arrangements of temporal graphs: who owns them, and which task reads which; one file each."""

from collections.abc import Mapping
from typing import Any

from mtl_perception.network.sharing import choose_method
from mtl_perception.network.temporal_graph.sharing.contract import GraphSharing, MakeGraph
from mtl_perception.network.temporal_graph.sharing.hard import HardGraphSharing
from mtl_perception.network.temporal_graph.sharing.single_task import SingleTaskGraphs
from mtl_perception.network.temporal_graph.sharing.task_translation import TaskTranslation
from mtl_perception.network.temporal_graph.window import Window

# Each class takes (make_trunk, windows, **settings); its settings are its remaining parameters.
GRAPH_SHARING: dict[str, Any] = {
    'hard': HardGraphSharing,
    'single_task': SingleTaskGraphs,
    'task_translation': TaskTranslation,
}

__all__ = [
    'GRAPH_SHARING',
    'GraphSharing',
    'HardGraphSharing',
    'MakeGraph',
    'SingleTaskGraphs',
    'TaskTranslation',
    'build_graph_sharing',
]


def build_graph_sharing(
    name: str, make_trunk: MakeGraph, windows: Mapping[str, Window], **settings: Any
) -> GraphSharing:
    """
    Build the arrangement that a config names.

    :param name: A key of ``GRAPH_SHARING``.
    :param make_trunk: Called once per temporal graph that it needs.
    :param windows: The structure of the windows of each task.
    :param settings: Its own settings.
    :raises ValueError: If the name or a setting is unknown, or a setting does not fit.
    """
    method = choose_method(GRAPH_SHARING, name, settings)
    built: GraphSharing = method(make_trunk, windows, **settings)
    return built
