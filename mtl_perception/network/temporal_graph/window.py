"""
The graph of a window: which nodes it has, and which of them hear each other.

Peirone et al., A Backpack Full of Skills: Egocentric Video Understanding with Diverse Task
Perspectives (CVPR 2024), section 3.1. The structure comes from the kind of task alone, never from
labels, so that it is the same for every window, in training and on the robot.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GraphSettings,
    RecognitionConfig,
)
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """
    The structure of the windows of a task.

    :param num_inputs: Nodes whose features are given.
    :param num_futures: Nodes that follow; every input is heard by each of them.
    :param centred: Whether positions count from the centre and the task judges that node alone.
    """

    num_inputs: int
    num_futures: int = 0
    centred: bool = False

    @property
    def num_nodes(self) -> int:
        """Return the nodes of the graph."""
        return self.num_inputs + self.num_futures

    def fill(self, features: Tensor) -> Tensor:
        """
        Return the features of all nodes: those of the future get the mean of the inputs.

        :param features: ``[B, num_inputs, S, D]``.
        :return: ``[B, num_nodes, S, D]``.
        """
        if not self.num_futures:
            return features
        mean = features.mean(1, keepdim=True)
        return torch.cat([features, mean.expand(-1, self.num_futures, -1, -1)], 1)

    def positions(self, device: torch.device) -> Tensor:
        """Return the places of the nodes in time, int64 ``[N]``: 0 is the first or the centre."""
        places = torch.arange(self.num_nodes, device=device)
        return places - self.num_nodes // 2 if self.centred else places

    def edges(self, device: torch.device) -> Tensor:
        """Return who hears whom, bool ``[N, N]``: node i hears node j where ``[i, j]`` is true."""
        places = torch.arange(self.num_nodes, device=device)
        heard = (places[:, None] - places).abs() == 1
        if not self.num_futures:
            return heard
        is_input = places < self.num_inputs
        return heard | (~is_input[:, None] & is_input)

    def mean_matrix(self, like: Tensor) -> Tensor:
        """
        Return what takes the mean over the neighbours of each node, ``[N, N]``.

        A node without neighbours has a row of zeros.
        """
        edges = self.edges(like.device)
        return (edges / edges.sum(1, keepdim=True).clamp_min(1)).to(like.dtype)

    def judged(self, nodes: Tensor) -> Tensor:
        """
        Return the nodes that a task says something of: the centre, the future, or all.

        :param nodes: ``[B, N, H]``.
        """
        if self.centred:
            centre = self.num_nodes // 2
            return nodes[:, centre : centre + 1]
        return nodes[:, -self.num_futures :] if self.num_futures else nodes


def window_of(settings: GraphSettings) -> Window:
    """Return the structure of the windows of a task."""
    if isinstance(settings, AnticipationConfig):
        return Window(num_inputs=settings.num_inputs, num_futures=settings.num_futures)
    centred = isinstance(settings, RecognitionConfig)
    return Window(num_inputs=settings.num_nodes, centred=centred)
