"""The backpack: what other tasks would say of a window, with what they know of each concept."""

from __future__ import annotations

from mtl_perception.network.temporal_graph.config import BackpackConfig
from mtl_perception.network.temporal_graph.prototypes import nearest
import torch
from torch import nn, Tensor


class Interaction(nn.Module):
    """
    One exchange of nodes with the prototypes that they resemble.

    Peirone et al. (CVPR 2024), section 3.3: a residual GraphSAGE step whose neighbours are the
    nearest prototypes by the cosine and, as in the code of the authors, the node itself. It
    matches the nodes as they are, not as they were before the first step.
    """

    def __init__(self, width: int, k: int, aggregation: str) -> None:
        super().__init__()
        self.k, self.aggregation = k, aggregation
        self.root = nn.Linear(width, width, bias=False)
        self.neighbours = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, width)

    def forward(self, nodes: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the nodes after the exchange, and which prototypes they were matched with.

        :param nodes: ``[B, N, H]``.
        :param prototypes: ``[C, H]``.
        :return: ``[B, N, H]``, and int64 ``[B, N, k]``.
        """
        indices = nearest(nodes, prototypes, self.k)
        matched = prototypes.to(nodes.dtype)[indices]
        if self.aggregation == 'max':
            heard = torch.maximum(matched.amax(2), nodes)
        else:
            heard = (matched.sum(2) + nodes) / (self.k + 1)
        hidden = self.norm(self.root(nodes) + self.neighbours(heard)).relu()
        return nodes + self.output(hidden), indices


class Exchange(nn.Module):
    """All exchanges of one perspective, each with weights of its own."""

    def __init__(self, width: int, config: BackpackConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Interaction(width, config.k, config.aggregation) for _ in range(config.num_layers)
        )
        self.k = config.k

    def forward(self, nodes: Tensor, prototypes: Tensor | None) -> tuple[Tensor, Tensor]:
        """
        Return the nodes after all exchanges, and what was matched in each.

        :param nodes: ``[B, N, H]``.
        :param prototypes: ``[C, H]``; None where there are no exchanges.
        :return: ``[B, N, H]``, and int64 ``[depth, B, N, k]``.
        """
        matches: list[Tensor] = []
        for layer in self.layers:
            nodes, indices = layer(nodes, prototypes)
            matches.append(indices)
        if matches:
            return nodes, torch.stack(matches)
        return nodes, nodes.new_zeros((0, *nodes.shape[:2], self.k), dtype=torch.int64)
