"""The data sets of windows of features, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.activity_grammar.dataset import activity_grammar
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.clip_features import clip_features
from mtl_training.data.segments.ego4d import ego4d
from mtl_training.data.segments.feature_folder import feature_folder
from mtl_training.tables import call_with, choose

# Called as factory(task, kind, split, settings=, graph=, **settings of its own).
GRAPH_DATASETS: dict[str, Callable[..., Any]] = {
    'activity_grammar': activity_grammar,
    'clip_features': clip_features,
    'ego4d': ego4d,
    'feature_folder': feature_folder,
}


def build_windows(
    dataset: str,
    task: str,
    kind: str,
    split: str,
    own: Mapping[str, Any],
    *,
    settings: Any,
    graph: GraphConfig,
) -> GraphDataset:
    """
    Build a data set of windows.

    :param dataset: A key of :data:`GRAPH_DATASETS`.
    :param kind: Of the task, one of ``GRAPH_KINDS``.
    :param own: Settings of the data set.
    :param settings: Of the task.
    :param graph: Of the trunk.
    :raises ValueError: If the data set or a setting is unknown, or nothing is there.
    """
    factory = choose(GRAPH_DATASETS, dataset, 'dataset of windows')
    where = f"data set '{dataset}' of task '{task}'"
    given = {**own, 'settings': settings, 'graph': graph}
    built: GraphDataset = call_with(factory, where, (task, kind, split), given)
    return built
