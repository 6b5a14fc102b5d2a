"""One temporal graph for all tasks."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network.temporal_graph.sharing.contract import GraphSharing, MakeGraph
from mtl_perception.network.temporal_graph.trunk import Nodes
from mtl_perception.network.temporal_graph.window import Window
from torch import nn, Tensor


class HardGraphSharing(GraphSharing):
    """One temporal graph that every task reads (Caruana, 1997)."""

    def __init__(self, make_trunk: MakeGraph, windows: Mapping[str, Window]) -> None:
        super().__init__(windows)
        self.trunk = make_trunk()
        self.feature_dim = self.trunk.feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the parts of the one graph."""
        return self.trunk.stages()

    def forward_task(self, features: Tensor, task: str) -> Tensor:
        """Return the nodes of windows that belong to one task, ``[B, N, H]``."""
        return self.forward_tasks({task: features})[task]

    def forward_tasks(self, features: Mapping[str, Tensor], *, merge: bool = True) -> Nodes:
        """Return the nodes of each task's own windows; merged, in one pass."""
        for task in features:
            self._check_task(task)
        if merge:
            return self.trunk(features, self.windows)  # type: ignore[no-any-return]
        return {t: self.trunk({t: batch}, self.windows)[t] for t, batch in features.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that the losses of more than one task can reach."""
        return super().shared_parameters() if len(self.tasks) > 1 else []
