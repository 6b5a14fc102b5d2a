"""What a task draws from its backpack: matched prototypes, and how far the perspectives agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.config import BackpackConfig, GRAPH_KINDS, STATE_CHANGES
from mtl_perception.network.temporal_graph.heads import Perspectives
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_training.data.graph_sample import GraphBatch, UNKNOWN
from mtl_training.metrics import ConfusionMatrix
import torch
from torch import Tensor

MOMENTS = ('another moment', 'point of no return')
VOTE = 'all together'


@dataclass(slots=True)
class GroupCounts:
    """
    What was counted of one group of labels; of kinds without groups there is one.

    :param labels: What the task decides between.
    :param classes: What a node is an example of: the labels, or whether it is the moment.
    :param closest: Of each known task how often a node of a class was matched with a concept,
        int64 ``[depth, classes, concepts]``.
    :param equal: How often two perspectives decide the same, int64 ``[P, P]``; the last is all
        together.
    :param right: How often each is right, int64 ``[P]``.
    """

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: ConfusionMatrix
    equal: Tensor
    right: Tensor
    closest: dict[str, Tensor] = field(default_factory=dict)
    num_decisions: int = 0
    num_known: int = 0

    def agreement(self) -> Tensor:
        """Return the share of decisions in which two perspectives are the same, ``[P, P]``."""
        return self.equal / max(1, self.num_decisions)

    def accuracy(self) -> Tensor:
        """Return the accuracy of each perspective by itself, ``[P]``."""
        return self.right / max(1, self.num_known)


@dataclass(slots=True)
class BackpackInspection:
    """
    What a task with a backpack does with windows; see :func:`inspect_backpack`.

    :param perspectives: The task, the known ones, and all together.
    """

    task: str
    kind: str
    perspectives: tuple[str, ...]
    concepts: tuple[str, ...]
    groups: dict[str, GroupCounts]
    num_windows: int = 0

    @property
    def known(self) -> tuple[str, ...]:
        """Return the tasks in the backpack."""
        return self.perspectives[1:-1]

    def update(self, views: Perspectives, vote: Any, batch: GraphBatch) -> None:
        """
        Count the windows of a batch.

        :param vote: What the network says.
        """
        self.num_windows += len(batch.indices)
        outputs = [*views.logits.values(), vote]
        for number, (name, counts) in enumerate(self.groups.items()):
            decided = torch.stack([_decisions(output, name) for output in outputs]).cpu()
            truth = self._truth(batch, number)
            self._count_decisions(counts, decided, truth)
            nodes = self._classes_of_nodes(batch, number, views.matches)
            for task, matched in views.matches.items():
                counts.closest[task] += _counted(matched.cpu(), nodes, counts.closest[task])

    def facts(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return {
            'task': self.task,
            'kind': self.kind,
            'windows': self.num_windows,
            'perspectives': list(self.perspectives),
            'concepts': list(self.concepts),
            'groups': {name: _facts(counts) for name, counts in self.groups.items()},
        }

    def _count_decisions(self, counts: GroupCounts, decided: Tensor, truth: Tensor) -> None:
        """Count decisions, ``[P, B, M]``, of M nodes of each window, truth ``[B, M]``."""
        flat, true = decided.flatten(1), truth.flatten()
        known = true != UNKNOWN
        counts.equal += (flat.unsqueeze(0) == flat.unsqueeze(1)).sum(2)
        counts.right += (flat == true)[:, known].sum(1)
        counts.num_decisions += flat.shape[1]
        counts.num_known += int(known.sum())
        counts.confusion.update(flat[-1, known], true[known])

    def _truth(self, batch: GraphBatch, group: int) -> Tensor:
        targets = batch.targets.cpu()
        if self.kind == 'anticipation':
            return targets[..., group]
        if self.kind == 'recognition':
            targets = targets[:, group]
        return targets.unsqueeze(1)

    def _classes_of_nodes(
        self, batch: GraphBatch, group: int, matches: Mapping[str, Tensor]
    ) -> Tensor:
        """Return what each node that is matched is an example of, ``[B, N]``."""
        truth = self._truth(batch, group)
        num_nodes = next((matched.shape[2] for matched in matches.values()), truth.shape[1])
        if self.kind == 'point_of_no_return':
            return (torch.arange(num_nodes) == truth).long()
        return truth.expand(-1, num_nodes)


def backpack_of(config: NetworkConfig, task: str) -> BackpackConfig:
    """
    Return the backpack of a task.

    :raises ValueError: If there is no such task, or it has none.
    """
    if task not in config.tasks:
        raise ValueError(f"no task '{task}'; tasks: {', '.join(config.tasks)}.")
    backpack = _backpack(config, task)
    if backpack is None:
        raise ValueError(f"task '{task}' has no backpack.")
    return backpack


def tasks_with_backpack(config: NetworkConfig) -> list[str]:
    """Return the tasks that have a backpack."""
    return [name for name in config.tasks if _backpack(config, name) is not None]


@torch.no_grad()
def inspect_backpack(
    network: MultiTaskNetwork,
    task: str,
    batches: Iterable[GraphBatch],
    *,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda count: None,
) -> BackpackInspection:
    """
    Return what a task draws from its backpack on windows of its data set.

    Peirone et al. (CVPR 2024), figures 5 to 7: which prototypes the nodes of each class are
    matched with, how often perspectives decide the same, and what is mistaken for what.

    :param network: In evaluation mode, on the device.
    :param on_batch: Called with the number of windows done.
    :raises ValueError: If the task has no backpack.
    """
    found = _empty(network, task)
    for batch in batches:
        on_device = batch.to(device)
        views = network.perspectives(task, on_device.features)
        # What the network says, by its own rule for votes.
        vote = network.forward_tasks({task: on_device.features})[task]
        found.update(views, vote, batch)
        on_batch(found.num_windows)
    return found


def _backpack(config: NetworkConfig, name: str) -> BackpackConfig | None:
    task = config.tasks[name]
    settings = settings_of(name, task) if task.kind in GRAPH_KINDS else None
    return getattr(settings, 'backpack', None)


def _empty(network: MultiTaskNetwork, task: str) -> BackpackInspection:
    config = network.config.tasks[task]
    backpack = backpack_of(network.config, task)
    perspectives = (task, *backpack.tasks, VOTE)
    settings: Any = settings_of(task, config)
    concepts: tuple[str, ...] = ()
    if config.trunk in network.prototypes:
        concepts = cast('PrototypeBank', network.prototypes[config.trunk]).concepts
    labels: dict[str, tuple[str, ...]] = dict(config.groups)
    if config.kind == 'state_change':
        labels = {task: STATE_CHANGES}
    elif config.kind == 'point_of_no_return':
        labels = {task: tuple(str(node) for node in range(settings.num_nodes))}
    groups = {}
    for name, names in labels.items():
        classes = MOMENTS if config.kind == 'point_of_no_return' else names
        size = len(perspectives)
        groups[name] = GroupCounts(
            labels=names,
            classes=classes,
            confusion=ConfusionMatrix(names),
            equal=torch.zeros(size, size, dtype=torch.int64),
            right=torch.zeros(size, dtype=torch.int64),
            closest={
                known: torch.zeros(
                    backpack.num_layers, len(classes), len(concepts), dtype=torch.int64
                )
                for known in backpack.tasks
            },
        )
    return BackpackInspection(task, config.kind, perspectives, concepts, groups)


def _decisions(output: Any, group: str) -> Tensor:
    """Return what is decided for each window, ``[B, M]``: the future has several decisions."""
    logits: Tensor = output[group] if isinstance(output, Mapping) else output
    decided = logits.argmax(-1)
    return decided if decided.ndim == 2 else decided.unsqueeze(1)


def _counted(matched: Tensor, nodes: Tensor, like: Tensor) -> Tensor:
    """
    Return how often nodes of each class were matched with each concept.

    :param matched: ``[depth, B, N, k]``.
    :param nodes: Their classes, ``[B, N]``; UNKNOWN has no say.
    :param like: ``[depth, classes, concepts]``, for the shape.
    """
    _, num_classes, num_concepts = like.shape
    known = nodes != UNKNOWN
    rows = []
    for layer in matched:
        pairs = (nodes.unsqueeze(2) * num_concepts + layer)[known]
        rows.append(torch.bincount(pairs.flatten(), minlength=num_classes * num_concepts))
    return torch.stack(rows).view_as(like) if rows else torch.zeros_like(like)


def _facts(counts: GroupCounts) -> dict[str, Any]:
    return {
        'labels': list(counts.labels),
        'classes': list(counts.classes),
        'decisions': counts.num_decisions,
        'known': counts.num_known,
        'agreement': counts.agreement().tolist(),
        'accuracy': counts.accuracy().tolist(),
        'closest': {task: found.tolist() for task, found in counts.closest.items()},
        'confusion': counts.confusion.counts.tolist(),
    }
