"""The trunk of windows: what each node shows, and what its neighbours in time add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.network.temporal_graph.window import Window
import torch
from torch import nn, Tensor
from torch.nn import functional

Nodes = dict[str, Tensor]  # [B, N, H] per task
LEAK = 0.2  # slope of the leaky ReLU


class GraphLayer(nn.Module):
    """
    A layer that adds to a node the mean of what its neighbours say.

    Hamilton et al., Inductive Representation Learning on Large Graphs (2017), with a projection
    before the mean: ``W_r h_i + W_n mean_j ReLU(W_p h_j + b_p) + b``, then a layer norm of each
    node by itself and a leaky ReLU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.neighbours = nn.Linear(width, width)
        self.root = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def convolve(self, nodes: Tensor, means: Sequence[tuple[int, Tensor]]) -> Tensor:
        """
        Return the sum before the norm.

        :param nodes: Of windows of one or more structures, one after the other, ``[M, H]``.
        :param means: For each structure how many windows there are, and their mean matrix.
        """
        said = self.project(nodes).relu()
        parts = said.split([count * len(mean) for count, mean in means])
        heard = [
            (mean @ part.view(count, len(mean), -1)).flatten(0, 1)
            for part, (count, mean) in zip(parts, means)
        ]
        merged = heard[0] if len(heard) == 1 else torch.cat(heard)
        result: Tensor = self.neighbours(merged) + self.root(nodes)
        return result

    def forward(self, nodes: Tensor, means: Sequence[tuple[int, Tensor]]) -> Tensor:
        """Return the nodes after the layer, ``[M, H]``."""
        return functional.leaky_relu(self.norm(self.convolve(nodes, means)), LEAK)


class TemporalGraph(nn.Module):
    """
    From windows of features to what the heads see of each node.

    Peirone et al. (CVPR 2024), section 3.1 and appendix: the features of a node become one by a
    perceptron; a graph network on these and their places in time adds what is around. Without
    layers the perceptron is all.
    """

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_dim = width = config.width
        layers: list[nn.Module] = []
        size = config.num_features * config.feature_dim
        for _ in range(2):
            layers += [
                nn.Linear(size, width),
                nn.LayerNorm(width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            ]
            size = width
        self.pooling = nn.Sequential(*layers, nn.Linear(width, width))
        self.layers = nn.ModuleList(GraphLayer(width) for _ in range(config.num_layers))
        self.output = nn.Linear(width, width) if config.num_layers else None

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Return the named parts in the order in which they run."""
        layers = [(f'layers.{i}', layer) for i, layer in enumerate(self.layers)]
        output = [] if self.output is None else [('output', self.output)]
        return [('pooling', self.pooling), *layers, *output]

    def forward(self, features: Mapping[str, Tensor], windows: Mapping[str, Window]) -> Nodes:
        """
        Return the nodes of the windows of one or more tasks, in one pass.

        :param features: ``[B, num_inputs, S, D]`` per task; batch sizes may differ.
        :param windows: The structure of the windows of these tasks.
        :return: ``[B, N, H]`` per task.
        :raises ValueError: If features do not fit the structure or the config.
        """
        filled = {}
        for task, batch in features.items():
            self._check(task, batch, windows[task])
            filled[task] = windows[task].fill(batch)
        merged = torch.cat([batch.flatten(2).flatten(0, 1) for batch in filled.values()])
        pooled: Tensor = self.pooling(merged)
        nodes = pooled if self.output is None else pooled + self._around(pooled, filled, windows)
        shapes = {task: batch.shape[:2] for task, batch in filled.items()}
        parts = nodes.split([math.prod(shape) for shape in shapes.values()])
        return {task: part.view(*shapes[task], -1) for task, part in zip(shapes, parts)}

    def _around(
        self, pooled: Tensor, filled: Mapping[str, Tensor], windows: Mapping[str, Window]
    ) -> Tensor:
        assert self.output is not None
        means = [(len(batch), windows[task].mean_matrix(pooled)) for task, batch in filled.items()]
        places = [
            encoded_positions(windows[task].positions(pooled.device), pooled).repeat(len(batch), 1)
            for task, batch in filled.items()
        ]
        nodes = pooled + torch.cat(places)
        for layer in self.layers:
            nodes = layer(nodes, means)
        around: Tensor = self.output(nodes)
        return around

    def _check(self, task: str, features: Tensor, window: Window) -> None:
        wanted = (window.num_inputs, self.config.num_features, self.config.feature_dim)
        if features.ndim != 4 or tuple(features.shape[1:]) != wanted:
            raise ValueError(
                f"features of task '{task}' must be [B, {', '.join(map(str, wanted))}], got "
                f'{tuple(features.shape)}.'
            )


def encoded_positions(positions: Tensor, like: Tensor) -> Tensor:
    """
    Return sines and cosines of places in time (Vaswani et al., Attention Is All You Need, 2017).

    :param positions: Integers, ``[N]``; they may be negative.
    :param like: Whose width and type the encoding has.
    :return: ``[N, H]``: the sine of each frequency, and the cosine next to it.
    """
    width = like.shape[-1]
    even = torch.arange(0, width, 2, device=positions.device)
    angles = positions[:, None] * torch.exp(even * (-math.log(10000.0) / width))
    pairs = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    return pairs[:, :width].to(like.dtype)
