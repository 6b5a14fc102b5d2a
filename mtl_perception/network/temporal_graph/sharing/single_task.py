"""One temporal graph per task, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_perception.network.temporal_graph.sharing.contract import GraphSharing, MakeGraph
from mtl_perception.network.temporal_graph.window import Window
from torch import nn, Tensor


class SingleTaskGraphs(GraphSharing):
    """One temporal graph per task: nothing is shared (the baseline of Caruana, 1997)."""

    def __init__(self, make_trunk: MakeGraph, windows: Mapping[str, Window]) -> None:
        super().__init__(windows)
        trunks = {task: make_trunk() for task in windows}
        self.task_trunks = nn.ModuleDict(trunks)
        self.feature_dim = trunks[self.tasks[0]].feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the parts of every graph, in the order of the tasks."""
        return [stage for trunk in self.task_trunks.values() for stage in trunk.stages()]  # type: ignore[operator]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return nothing: no parameter is shared."""
        return []

    def forward_task(self, features: Tensor, task: str) -> Tensor:
        """Return the nodes of windows from the task's own graph, ``[B, N, H]``."""
        self._check_task(task)
        return self._nodes_from(task, features, task)

    def _nodes_from(self, owner: str, features: Tensor, task: str) -> Tensor:
        nodes: Tensor = self.task_trunks[owner]({task: features}, self.windows)[task]
        return nodes
