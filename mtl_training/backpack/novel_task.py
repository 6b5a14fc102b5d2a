"""One more task on a memory trunk that stays as it is: its network, its windows, its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math
from typing import Any

from mtl_perception.network.config import NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.config import GraphConfig
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

Rows = NDArray[np.floating]  # [N, D], the features of a clip


@dataclass(frozen=True, kw_only=True, slots=True)
class NovelConfig:
    """
    How a task is learnt from a few clips.

    :param name: Of the task.
    :param classes: Its labels.
    :param num_rows: Features, one after the other, that a window is cut from.
    :param iterations: How long it is trained.
    :param batch_size: Windows of an iteration.
    :param lr: Learning rate at the start; it falls to 0 by a cosine.
    :param seed: Of the initial weights, the order of the clips and the windows in them.
    :raises ValueError: If one of them is out of range.
    """

    name: str
    classes: tuple[str, ...]
    num_rows: int
    iterations: int = 200
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-5
    classifier_dropout: float = 0.5
    k: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('num_rows', 'iterations', 'batch_size'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        # Written so that NaN is refused too.
        if not 0 < self.lr < math.inf:
            raise ValueError(f'lr must be positive and finite, got {self.lr}.')


def memory_trunk(config: NetworkConfig, where: str) -> str:
    """
    Return the trunk whose known tasks help new ones.

    :param where: The checkpoint, for messages.
    :raises ValueError: If there is none, which says how to make one.
    """
    for name, trunk in config.trunks_of('features').items():
        graph = graph_of(trunk)
        if graph.known and graph.concepts:
            if not graph.source:
                raise ValueError(
                    f"checkpoint '{where}' must have the clip trunk whose features its memory "
                    f"trunk '{name}' looks at: join both with python -m mtl_training join "
                    '--source TASK.'
                )
            return name
    raise ValueError(
        f"checkpoint '{where}' has no memory trunk with a backpack: make one with python -m "
        'mtl_training train --config config/training/backpack_robot.yaml, then python -m '
        'mtl_training build-backpack, and join it with the clip checkpoint.'
    )


def graph_of(trunk: TrunkConfig) -> GraphConfig:
    """Return the graph of a trunk of features."""
    assert trunk.graph is not None
    return trunk.graph


def memory_alone(network: MultiTaskNetwork, trunk: str) -> MultiTaskNetwork:
    """Return a copy of a memory trunk and its tasks, without what its features come from."""
    config, graph = network.config, graph_of(network.config.trunks[trunk])
    alone = replace(config.trunks[trunk], graph=replace(graph, source=''))
    tasks = {name: config.tasks[name] for name in config.tasks_of(trunk)}
    copy = MultiTaskNetwork(NetworkConfig(trunks={trunk: alone}, tasks=tasks))
    state = network.state_dict()
    copy.load_state_dict({name: state[name] for name in copy.state_dict()})
    return copy.eval()


def with_novel_task(
    network: MultiTaskNetwork, trunk: str, novel: NovelConfig, *, asks: bool
) -> MultiTaskNetwork:
    """
    Return a copy of a network with one more task of recognition, whose head is new.

    :param trunk: The memory trunk.
    :param asks: Whether it takes the perspectives of the known tasks, with their prototypes; or
        has a head of its own and no more.
    """
    config, graph = network.config, graph_of(network.config.trunks[trunk])
    settings: dict[str, Any] = {
        'num_nodes': 1,
        'seconds': novel.num_rows * graph.stride_seconds,
        'classifier_dropout': novel.classifier_dropout,
    }
    if asks:
        k = min(novel.k, len(graph.concepts))
        settings['backpack'] = {'tasks': list(graph.known), 'k': k}
    task = TaskConfig(
        kind='recognition', trunk=trunk, groups={novel.name: novel.classes}, settings=settings
    )
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(novel.seed)
        grown = MultiTaskNetwork(replace(config, tasks={**config.tasks, novel.name: task}))
    missing, extra = grown.load_state_dict(network.state_dict(), strict=False)
    assert not extra
    assert all(name.startswith(f'heads.{novel.name}.') for name in missing)
    return grown.eval()


def learn(
    network: MultiTaskNetwork, novel: NovelConfig, clips: Sequence[Rows], labels: Sequence[int]
) -> None:
    """
    Train the head of a task; nothing else of the network changes, not by a bit.

    :param clips: Features of each clip, ``[N, D]``; windows of them are drawn at random.
    """
    head = network.eval().requires_grad_(False).heads[novel.name].requires_grad_(True).train()
    optimiser = torch.optim.Adam(head.parameters(), lr=novel.lr, weight_decay=novel.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, novel.iterations)
    random = np.random.default_rng(novel.seed)
    targets = torch.tensor(labels)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(novel.seed)  # of the dropout
        for _ in range(novel.iterations):
            chosen = random.permutation(len(clips))[: novel.batch_size]
            windows = _windows(network, novel, [clips[i] for i in chosen], random)
            logits = _logits(network, novel.name, windows)
            loss = functional.cross_entropy(logits, targets[torch.from_numpy(chosen)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval().requires_grad_(False)


@torch.no_grad()
def predict(network: MultiTaskNetwork, novel: NovelConfig, clips: Sequence[Rows]) -> list[int]:
    """Return the class of the window in the middle of each clip."""
    return _logits(network, novel.name, _windows(network, novel, clips)).argmax(1).tolist()


@torch.no_grad()
def matched_concepts(
    network: MultiTaskNetwork, novel: NovelConfig, clips: Sequence[Rows]
) -> dict[str, NDArray[np.int64]]:
    """Return the prototypes of each known task that clips are first matched with, ``[n, k]``."""
    found = network.perspectives(novel.name, _windows(network, novel, clips)).matches
    return {task: indices[0, :, 0].numpy() for task, indices in found.items()}


def _logits(network: MultiTaskNetwork, task: str, windows: Tensor) -> Tensor:
    found: Tensor = network.forward_tasks({task: windows})[task][task]
    return found


def _windows(
    network: MultiTaskNetwork,
    novel: NovelConfig,
    clips: Sequence[Rows],
    random: np.random.Generator | None = None,
) -> Tensor:
    """Return a window of each clip, ``[B, 1, S, D]``: a random one, or that in the middle."""
    graph = graph_of(network.config.trunks[network.config.tasks[novel.name].trunk])
    cut = [window_rows(len(clip), novel.num_rows, graph.num_features, random) for clip in clips]
    windows = np.stack([clip[rows].astype(np.float32) for clip, rows in zip(clips, cut)])
    return torch.from_numpy(windows)[:, None]


def window_rows(
    num_rows: int, span: int, count: int, random: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """
    Return which rows of a clip become the features of its node.

    :param num_rows: Of the clip.
    :param span: Rows of a window; a shorter clip is one window.
    :param count: Features of the node.
    :param random: Draws the place of the window and the rows in it; ``None``: the middle, and
        spread evenly from the first to the last, as on the robot.
    :return: Ascending, ``[count]``.
    """
    span = min(span, num_rows)
    spare = num_rows - span
    if random is None:
        shares = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
        return spare // 2 + np.floor(shares * (span - 1) + 0.5).astype(np.int64)
    start = random.integers(spare + 1)
    return start + np.sort(random.choice(span, count, replace=span < count))
