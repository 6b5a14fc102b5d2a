"""The heads of tasks on windows: their own view, and those of the tasks in their backpack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, NamedTuple

from mtl_perception.network.temporal_graph.backpack import Exchange
from mtl_perception.network.temporal_graph.config import GraphSettings, GROUPED_KINDS
from mtl_perception.network.temporal_graph.window import window_of
import torch
from torch import nn, Tensor


class Perspectives(NamedTuple):
    """
    What a task says of windows from each point of view.

    ``logits`` has outputs as the network's for the task itself and for every task in its backpack;
    their sum, or mean, is what the network says. ``matches`` has, for each of the latter, which
    prototypes its nodes were matched with, the nearest first: int64 ``[depth, B, N, k]``, where N
    are the nodes that are judged: the centre, the future, or all.
    """

    logits: dict[str, Any]
    matches: dict[str, Tensor]


class Known(NamedTuple):
    """A task that another has in its backpack: what it sees of a node, and its prototypes."""

    project: Projection
    prototypes: Tensor | None  # [C, H]


class Projection(nn.Sequential):
    """From nodes of the trunk to the features of a task, both ``[..., H]``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )


class Classifiers(nn.Module):
    """From the features of the nodes that are judged to the outputs of a kind of task."""

    def __init__(
        self, kind: str, width: int, groups: Mapping[str, Sequence[str]], dropout: float
    ) -> None:
        super().__init__()
        self.kind = kind
        sizes = {name: len(labels) for name, labels in groups.items()}
        if kind not in GROUPED_KINDS:
            sizes = {kind: 2 if kind == 'state_change' else 1}
        self.layers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Dropout(dropout), nn.Linear(width, n))
                for name, n in sizes.items()
            }
        )

    def forward(self, nodes: Tensor) -> Any:
        """
        Return the logits of nodes, ``[B, N, H]``.

        :return: ``[B, C]`` of each group for recognition, ``[B, N, C]`` for anticipation;
            ``[B, 2]`` for state_change, whose nodes are pooled by their maximum; ``[B, N]`` for
            point_of_no_return.
        """
        if self.kind == 'state_change':
            return self.layers[self.kind](nodes.amax(1))
        if self.kind == 'point_of_no_return':
            return self.layers[self.kind](nodes).squeeze(2)
        nodes = nodes[:, 0] if self.kind == 'recognition' else nodes
        return {name: layer(nodes) for name, layer in self.layers.items()}


class GraphHead(nn.Module):
    """
    The head of a task on windows.

    Peirone et al. (CVPR 2024), sections 3.2 and 3.3: the features of the task, then classifiers.
    With a backpack the features of other tasks exchange with their prototypes, have classifiers of
    their own, and all vote.

    :param kind: Of the task.
    :param width: Of the nodes, H.
    :param settings: Of its kind.
    :param groups: Of its labels, for kinds that have them.
    """

    def __init__(
        self,
        kind: str,
        width: int,
        settings: GraphSettings,
        groups: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__()
        self.settings = settings
        self.window = window_of(settings)
        self.project = Projection(width, settings.dropout)
        self.classifiers = Classifiers(kind, width, groups, settings.classifier_dropout)
        backpack = settings.backpack
        others = () if backpack is None else backpack.tasks
        self.exchanges = nn.ModuleDict()
        self.voters = nn.ModuleDict()
        for other in others:
            assert backpack is not None
            self.exchanges[other] = Exchange(width, backpack)
            self.voters[other] = Classifiers(kind, width, groups, settings.classifier_dropout)

    def forward(self, nodes: Tensor, known: Mapping[str, Known] | None = None) -> Any:
        """
        Return what the task says of windows.

        :param nodes: Of the trunk, ``[B, N, H]``.
        :param known: The tasks in its backpack.
        :return: As of :class:`Classifiers`.
        """
        return self.fuse(self.perspectives('', nodes, known or {}).logits)

    def perspectives(self, task: str, nodes: Tensor, known: Mapping[str, Known]) -> Perspectives:
        """
        Return what the task says of windows from each point of view.

        :param task: Its name, for its own view.
        """
        judged = self.window.judged(nodes)
        logits = {task: self.classifiers(self.project(judged))}
        matches = {}
        for other, exchange in self.exchanges.items():
            seen = self._seen(known[other].project, judged)
            seen, matches[other] = exchange(seen, known[other].prototypes)
            logits[other] = self.voters[other](seen)
        return Perspectives(logits, matches)

    def fuse(self, logits: Mapping[str, Any]) -> Any:
        """Return the outcome of the vote of all points of view."""
        first, *others = logits.values()
        if not others:
            return first
        if isinstance(first, Mapping):
            return {
                group: self._vote([view[group] for view in logits.values()]) for group in first
            }
        return self._vote([*logits.values()])

    def _vote(self, logits: Sequence[Tensor]) -> Tensor:
        backpack = self.settings.backpack
        assert backpack is not None
        votes = torch.stack([*logits])
        return votes.sum(0) if backpack.votes == 'sum' else votes.mean(0)

    def _seen(self, project: Projection, nodes: Tensor) -> Tensor:
        backpack = self.settings.backpack
        assert backpack is not None
        if not backpack.detach:
            return cast('Tensor', project(nodes))
        with torch.no_grad():
            return cast('Tensor', project(nodes))
