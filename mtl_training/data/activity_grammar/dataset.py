"""The made-up activities as the data set of a task."""

from __future__ import annotations

from typing import Any

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.activity_grammar.source import activity_grammar_source
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.build import windows_of
from mtl_training.data.videos.index import check_split


def activity_grammar(
    task: str,
    kind: str,
    split: str,
    *,
    settings: Any,
    graph: GraphConfig,
    num_videos: int = 300,
    num_actions: int = 30,
    seed: int = 0,
    noise: float = 1.0,
    convention: str = 'forecasting',
    augment: bool | None = None,
) -> GraphDataset:
    """
    Kitchen activities that are made up here by known rules, as features; nothing to download.

    :param settings: Of the task.
    :param graph: Of its trunk, which decides how many dimensions the features have.
    :param num_videos: How many.
    :param num_actions: Of each video.
    :param seed: Another seed gives other looks and other videos.
    :param noise: Factor of all that hides what is done.
    :param convention: Of anticipation, forecasting or egopack.
    :param augment: Draw the moments of a window; default: in training.
    :raises ValueError: If an argument is out of range.
    """
    check_split(split)
    source = activity_grammar_source(
        split,
        num_videos=num_videos,
        num_actions=num_actions,
        seed=seed,
        noise=float(noise),
        dim=graph.feature_dim,
    )
    return windows_of(
        source, task, kind, settings=settings, graph=graph, augment=augment, convention=convention
    )
