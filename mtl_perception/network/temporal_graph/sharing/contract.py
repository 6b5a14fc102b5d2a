"""What every arrangement of the trunks of windows offers to the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

from mtl_perception.network.sharing.contract import SharingMethod
from mtl_perception.network.temporal_graph.trunk import Nodes, TemporalGraph
from mtl_perception.network.temporal_graph.window import Window
from torch import Tensor

MakeGraph = Callable[[], TemporalGraph]


class GraphSharing(SharingMethod):
    """
    The owner of one or more temporal graphs; for clips, read windows, for features, nodes.

    A subclass takes ``make_trunk`` and ``windows``, the structure of the windows of each task,
    then its own settings as keywords.
    """

    def __init__(self, windows: Mapping[str, Window]) -> None:
        super().__init__([*windows])
        self.windows = dict(windows)

    def forward(self, features: Tensor) -> Nodes:
        """
        Return the nodes of the same windows for every task.

        :param features: ``[B, N, S, D]``.
        :return: ``[B, N, H]`` per task, those of the future included.
        :raises ValueError: If windows of some task have another number of nodes.
        """
        return self.forward_tasks(dict.fromkeys(self.tasks, features))

    @abstractmethod
    def forward_task(self, features: Tensor, task: str) -> Tensor:
        """Return the nodes of windows that belong to one task, ``[B, N, H]``."""
