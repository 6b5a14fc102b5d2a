"""The whole branch against loops over windows, nodes, neighbours and prototypes in numpy."""

from collections.abc import Callable
import math
from typing import Any

from mtl_perception.network import MultiTaskNetwork
import numpy as np
import pytest
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]
TASKS = ('action', 'next', 'change', 'moment')


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('aggregation', ['max', 'mean'])
@pytest.mark.parametrize('novel', ['', *TASKS])
def test_the_branch_is_that_of_plain_loops(
    novel: str, aggregation: str, network_of: Callable[..., MultiTaskNetwork]
) -> None:
    votes = 'mean' if aggregation == 'mean' else 'sum'
    network = network_of(novel, backpack={'aggregation': aggregation, 'votes': votes})
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    inputs = {'action': 9, 'next': 2, 'change': 4, 'moment': 16}
    windows = {task: torch.randn(2, n, 2, 5) for task, n in inputs.items()}
    with torch.no_grad():
        outputs = network.forward_tasks(windows)
    for task, batch in windows.items():
        backpack = (
            ([t for t in TASKS if t != novel], aggregation, votes) if task == novel else None
        )
        for i, window in enumerate(batch.numpy()):
            expected = loop_branch(weights, task, window, backpack)
            given = outputs[task]
            found = {'': given} if isinstance(given, Tensor) else given
            assert found.keys() == expected.keys()
            for group, values in found.items():
                np.testing.assert_allclose(values[i].numpy(), expected[group], atol=1e-10)


def loop_branch(weights: Weights, task: str, window: Array, backpack: Any) -> dict[str, Array]:
    nodes = loop_trunk(below(weights, 'trunks.memory.trunk.'), task, window)
    judged = {'action': nodes[4:5], 'next': nodes[2:]}.get(task, nodes)
    head = below(weights, f'heads.{task}.')
    own = [loop_phi(below(head, 'project.'), node) for node in judged]
    votes = [loop_classify(below(head, 'classifiers.layers.'), task, own)]
    others, aggregation, vote = backpack or ((), '', 'sum')
    for other in others:
        phi = below(weights, f'heads.{other}.project.')
        prototypes = weights[f'prototypes.memory.means.{other}']
        seen = [loop_phi(phi, node) for node in judged]
        for layer in range(3):
            step = below(head, f'exchanges.{other}.layers.{layer}.')
            seen = [loop_exchange(step, q, prototypes, 2, aggregation) for q in seen]
        votes.append(loop_classify(below(head, f'voters.{other}.layers.'), task, seen))
    total = {group: sum(v[group] for v in votes) for group in votes[0]}
    return {g: v / len(votes) if vote == 'mean' else v for g, v in total.items()}  # type: ignore[misc]


def loop_trunk(weights: Weights, task: str, window: Array) -> list[Array]:
    features = [node.reshape(-1) for node in window]
    if task == 'next':
        features += [(features[0] + features[1]) / 2] * 20
    pooled = []
    for x in features:
        for first in (0, 4):
            x = linear(below(weights, f'pooling.{first}.'), x)
            x = np.maximum(norm(below(weights, f'pooling.{first + 1}.'), x), 0)
        pooled.append(linear(below(weights, 'pooling.8.'), x))
    count = len(pooled)
    nodes = []
    for i, x in enumerate(pooled):
        place = i - 4 if task == 'action' else i
        nodes.append(
            x + [(math.sin, math.cos)[c % 2](place / 10000 ** (c // 2 * 2 / 8)) for c in range(8)]
        )
    for layer in range(3):
        own = below(weights, f'layers.{layer}.')
        following = []
        for i, x in enumerate(nodes):
            heard = {j for j in (i - 1, i + 1) if 0 <= j < count}
            if task == 'next' and i >= 2:
                heard |= {0, 1}
            said = [np.maximum(linear(below(own, 'project.'), nodes[j]), 0) for j in heard]
            y = linear(below(own, 'neighbours.'), np.mean(said, axis=0))
            y = norm(below(own, 'norm.'), y + own['root.weight'] @ x)
            following.append(np.where(y > 0, y, 0.2 * y))
        nodes = following
    return [x + linear(below(weights, 'output.'), y) for x, y in zip(pooled, nodes)]


def loop_phi(weights: Weights, x: Array) -> Array:
    hidden = np.maximum(norm(below(weights, '2.'), linear(below(weights, '1.'), x)), 0)
    return linear(below(weights, '4.'), hidden)


def loop_exchange(
    weights: Weights, q: Array, prototypes: Array, k: int, aggregation: str
) -> Array:
    cosines = [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p in prototypes]
    nearest = sorted(range(len(prototypes)), key=lambda c: -cosines[c])[:k]
    heard = np.stack([q, *(prototypes[c] for c in nearest)])
    message = heard.max(0) if aggregation == 'max' else heard.mean(0)
    hidden = weights['root.weight'] @ q + weights['neighbours.weight'] @ message
    return q + linear(
        below(weights, 'output.'), np.maximum(norm(below(weights, 'norm.'), hidden), 0)
    )


def loop_classify(weights: Weights, task: str, nodes: list[Array]) -> dict[str, Array]:
    if task == 'change':
        pooled = np.max(np.stack(nodes), 0)
        return {'': linear(below(weights, 'state_change.1.'), pooled)}
    if task == 'moment':
        own = below(weights, 'point_of_no_return.1.')
        return {'': np.stack([linear(own, node)[0] for node in nodes])}
    groups = {
        group: np.stack([linear(below(weights, f'{group}.1.'), node) for node in nodes])
        for group in ('verb', 'noun')
    }
    return {g: v[0] for g, v in groups.items()} if task == 'action' else groups


def below(weights: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def linear(weights: Weights, x: Array) -> Array:
    return weights['weight'] @ x + weights['bias']


def norm(weights: Weights, x: Array) -> Array:
    scaled = (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    return scaled * weights['weight'] + weights['bias']
