"""What a trunk of windows of features remembers, and what its tasks see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtl_perception.network.heads import settings_of
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.runtime.clip_buffer import Clip
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.feature_memory import FeatureMemory
from mtl_perception.runtime.segment_window import SECOND, segment_window, SegmentWindow
import numpy as np
import torch
from torch import Tensor

# Features are remembered so many times more densely than the network learnt them: the nearest one
# is then within an eighth of their stride of the moment asked for.
OVERSAMPLING = 4


@dataclass(frozen=True)
class MemoryState:
    """How much is remembered; of several memories, of the one that lacks most."""

    span_sec: float  # from the oldest feature to the newest
    needed_sec: float  # of the longest window
    num_features: int
    hole_sec: float  # the longest time between two features
    stride_sec: float  # between the features that the network learnt from

    @property
    def is_filled(self) -> bool:
        """Return whether every task has its window."""
        return self.num_features > 0 and self.span_sec >= self.needed_sec


class WindowMemory:
    """
    The features that one trunk of windows remembers, and the windows that its tasks look at.

    :param trunk: Its name.
    """

    def __init__(self, engine: Engine, trunk: str, graph: GraphConfig) -> None:
        tasks = engine.config.tasks
        self.source = graph.source
        self.windows: dict[str, SegmentWindow] = {
            task: segment_window(settings_of(task, tasks[task]), graph)
            for task in engine.config.tasks_of(trunk)
        }
        self._stride_sec = graph.stride_seconds
        self._needed_ns = max(window.span_ns for window in self.windows.values())
        self.memory = FeatureMemory(
            graph.feature_dim,
            self._needed_ns,
            round(graph.stride_seconds * SECOND / OVERSAMPLING),
            device=engine.device,
            dtype=engine.dtype,
        )
        self._centre_ns = 0  # of the newest clip
        self._starts_ns: dict[str, int] = {}  # of what each task looks at

    @property
    def state(self) -> MemoryState:
        """Return how much is remembered. For any thread."""
        memory = self.memory
        return MemoryState(
            span_sec=memory.span_ns / SECOND,
            needed_sec=self._needed_ns / SECOND,
            num_features=len(memory),
            hole_sec=memory.hole_ns / SECOND,
            stride_sec=self._stride_sec,
        )

    def start_ns(self, task: str) -> int:
        """Return the stamp of the oldest frame that a task's newest window is made of."""
        return self._starts_ns[task]

    def moment_ns(self, task: str, node: int) -> int:
        """Return the stamp that a node of points of no return stands for."""
        return self._centre_ns + int(self.windows[task].offsets_ns[node])

    def remember(self, feature: Tensor, clip: Clip) -> dict[str, Tensor]:
        """
        Take in the feature ``[D]`` of a clip and return the windows that are filled.

        :return: ``[1, N, S, D]`` per task.
        """
        start_ns, stamp_ns = int(clip.stamps_ns[0]), int(clip.stamps_ns[-1])
        self.memory.append(
            feature, stamp_ns=stamp_ns, start_ns=start_ns, generation=clip.generation
        )
        self._centre_ns = (start_ns + stamp_ns) // 2
        filled = {
            task: window
            for task, window in self.windows.items()
            if self.memory.covers(window.span_ns)
        }
        return self._cut(filled) if filled else {}

    def _cut(self, windows: Mapping[str, SegmentWindow]) -> dict[str, Tensor]:
        """Return the windows of tasks, ``[1, N, S, D]``: one gathering for all together."""
        places: list[np.ndarray] = []
        shares: dict[str, np.ndarray] = {}
        for task, window in windows.items():
            if window.is_interpolated:
                between = self.memory.between(window.offsets_ns)
                below = between.astype(np.int64)
                shares[task] = between - below
                found = np.concatenate([below, np.minimum(below + 1, len(self.memory) - 1)])
            else:
                found = self.memory.nearest(window.offsets_ns)
            self._starts_ns[task] = self.memory.start_ns(int(found.min()))
            places.append(found)
        taken = self.memory.take(np.concatenate(places))
        pieces = taken.split([len(found) for found in places])
        return {
            task: _as_nodes(piece, window, shares.get(task))
            for (task, window), piece in zip(windows.items(), pieces)
        }


def _as_nodes(features: Tensor, window: SegmentWindow, shares: np.ndarray | None) -> Tensor:
    """Return ``[1, N, S, D]`` of the features of a window; shares of the later one, ``[N]``."""
    if shares is None:
        return features.view(1, *window.shape, -1)
    weights = torch.from_numpy(shares).to(features.device, features.dtype)
    low, high = features.chunk(2)
    nodes = torch.lerp(low, high, weights[:, None])
    return nodes[None, :, None].expand(1, *window.shape, -1)
