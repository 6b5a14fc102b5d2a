"""From annotated videos to the data set of one kind of task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.actions import AnticipationWindows, RecognitionWindows
from mtl_training.data.segments.changes import PointOfNoReturnWindows, StateChangeWindows
from mtl_training.data.segments.source import SegmentSource


def windows_of(
    source: SegmentSource,
    task: str,
    kind: str,
    *,
    settings: Any,
    graph: GraphConfig,
    augment: bool | None,
    convention: str = 'forecasting',
) -> GraphDataset:
    """
    Cut the windows that a kind of task looks at.

    :param kind: One of ``GRAPH_KINDS``.
    :param settings: Of the task, by its kind: how many nodes a window has.
    :param graph: Of the trunk: what its features are.
    :param augment: Draw what can be drawn; ``None``: in training.
    :param convention: Of anticipation; see :func:`anticipation_windows`.
    :raises ValueError: If the features are not those of the trunk, or there is no window.
    """
    if source.feature_set.dim != graph.feature_dim:
        raise ValueError(
            f"graph.feature_dim of the trunk of task '{task}' must be that of its features, "
            f'{source.feature_set.dim} of {source.feature_set.name}, got {graph.feature_dim}.'
        )
    shared: dict[str, Any] = {
        'num_features': graph.num_features,
        'augment': source.split == 'train' if augment is None else augment,
    }
    if kind == 'anticipation':
        return AnticipationWindows(
            task,
            source,
            num_inputs=settings.num_inputs,
            num_futures=settings.num_futures,
            convention=convention,
            **shared,
        )
    windows: dict[str, Callable[..., GraphDataset]] = {
        'recognition': RecognitionWindows,
        'state_change': StateChangeWindows,
        'point_of_no_return': PointOfNoReturnWindows,
    }
    return windows[kind](task, source, num_nodes=settings.num_nodes, **shared)
