"""Which moments of the past a task on windows of features looks at."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_perception.network.temporal_graph.config import (
    GraphConfig,
    GraphSettings,
    PointOfNoReturnConfig,
    StateChangeConfig,
)
from mtl_perception.network.temporal_graph.window import window_of
import numpy as np

SECOND = 1_000_000_000


@dataclass(frozen=True)
class SegmentWindow:
    """
    The moments of one task's window, relative to the newest feature.

    They lie as those of the windows that a network is trained on: an interval takes the features
    from its start on, the last one ``stride_seconds`` before its end, spread evenly with both ends
    included; for points of no return, node i of N stands for the moment i / N of the window.
    """

    shape: tuple[int, int]  # nodes that are given, features of a node
    offsets_ns: np.ndarray  # int64, ascending, the last 0: [N * S], or [N] where interpolated
    is_interpolated: bool  # between features in time, once a node; else the nearest ones

    @property
    def span_ns(self) -> int:
        """Return how far back the window reaches."""
        return -int(self.offsets_ns[0])


def segment_window(settings: GraphSettings, graph: GraphConfig) -> SegmentWindow:
    """
    Return the window of a task.

    :param settings: Of the task, which say how long it is.
    :param graph: Of the trunk that feeds it.
    """
    num_nodes, num_features = window_of(settings).num_inputs, graph.num_features
    if isinstance(settings, PointOfNoReturnConfig):
        offsets = np.arange(1 - num_nodes, 1) * (settings.seconds / num_nodes)
    elif isinstance(settings, StateChangeConfig):
        # One interval, of which consecutive features make a node.
        count = num_nodes * num_features
        offsets = _even_offsets(settings.seconds, 1, count, graph.stride_seconds)
    else:
        # Each node is an action, an interval of its own.
        offsets = _even_offsets(settings.seconds, num_nodes, num_features, graph.stride_seconds)
    return SegmentWindow(
        shape=(num_nodes, num_features),
        offsets_ns=np.rint(offsets * SECOND).astype(np.int64),
        is_interpolated=isinstance(settings, PointOfNoReturnConfig),
    )


def _even_offsets(seconds: float, num_intervals: int, count: int, stride: float) -> np.ndarray:
    """Return ``count`` moments of each interval, seconds before that of the newest feature."""
    length = seconds / num_intervals
    last = max(length - stride, 0.0)
    shares = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    starts = np.arange(num_intervals) * length
    moments = (starts[:, None] + shares * last).reshape(-1)
    return moments - moments[-1]
