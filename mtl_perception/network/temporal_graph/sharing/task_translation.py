"""Task translation: what every task's own graph sees, translated into what one task needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from mtl_perception.network.sharing.stages import check_count
from mtl_perception.network.temporal_graph.sharing.contract import MakeGraph
from mtl_perception.network.temporal_graph.sharing.single_task import SingleTaskGraphs
from mtl_perception.network.temporal_graph.trunk import encoded_positions
from mtl_perception.network.temporal_graph.window import Window
import torch
from torch import nn, Tensor


class TaskTranslation(SingleTaskGraphs):
    """
    One temporal graph per task, and an encoder-decoder over what all of them see.

    Xue et al., Egocentric Video Task Translation (CVPR 2023), the task-general variant. A first
    stage of training leaves the translator out (``translates`` is false); a second one keeps the
    graphs as they are and trains the translator. The encoder reads the nodes that all graphs make
    of a window; the decoder, asked with those of the task's own, returns as many. There a decoder
    writes out the answers of all tasks as words, here each task keeps its head.
    """

    translating: Tensor  # int64 [], 1 if what the graphs see is translated

    def __init__(
        self,
        make_trunk: MakeGraph,
        windows: Mapping[str, Window],
        *,
        num_heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        """
        Build the graphs and the translator.

        :param num_heads: Of the attention; they divide the width of the graphs.
        :param dropout: In the translator.
        """
        super().__init__(make_trunk, windows)
        check_count('num_heads', num_heads, 1)
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {dropout!r}.')
        width = self.feature_dim
        if width % num_heads:
            raise ValueError(f'num_heads must divide the width {width}, got {num_heads}.')
        settings = {'dim_feedforward': width, 'dropout': dropout, 'batch_first': True}
        self.encoder = nn.TransformerEncoderLayer(width, num_heads, **settings)  # type: ignore[arg-type]
        self.decoder = nn.TransformerDecoderLayer(width, num_heads, **settings)  # type: ignore[arg-type]
        self.owners = nn.Parameter(torch.randn(len(self.tasks), width) * 0.02)
        self.register_buffer('translating', torch.tensor(0))

    @property
    def translates(self) -> bool:
        """Return whether what the graphs see is translated."""
        return bool(self.translating)

    @translates.setter
    def translates(self, value: bool) -> None:
        self.translating.fill_(int(value))

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return all trained parameters once what the graphs see is translated, before none."""
        return [p for p in self.parameters() if p.requires_grad] if self.translates else []

    def forward_task(self, features: Tensor, task: str) -> Tensor:
        """Return the nodes of windows, ``[B, N, H]``: of the own graph, translated or not."""
        own = super().forward_task(features, task)
        if not self.translates:
            return own
        places = encoded_positions(self.windows[task].positions(own.device), own)
        tokens = {
            owner: (own if owner == task else self._nodes_from(owner, features, task))
            + places
            + place
            for owner, place in zip(self.tasks, self.owners)
        }
        memory = self.encoder(torch.cat([*tokens.values()], 1))
        return cast('Tensor', self.decoder(tokens[task], memory))
