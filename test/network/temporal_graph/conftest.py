"""Small networks of temporal graphs, with and without a backpack."""

from collections.abc import Callable
from typing import Any
import warnings

from mtl_perception.network import from_mapping, MultiTaskNetwork, NetworkConfig
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.network.temporal_graph.trunk import TemporalGraph
import pytest
import torch
from torch import nn, Tensor

CONCEPTS = ('take knife', 'cut bread', 'wash knife', 'take bread', 'cut knife')
GROUPS = {'verb': ('take', 'cut', 'wash'), 'noun': ('knife', 'bread')}
GRAPH = {'feature_dim': 5, 'num_features': 2, 'width': 8}
# What each task is given: nodes of a window.
INPUTS = {'action': 9, 'next': 2, 'change': 4, 'moment': 16}
TASKS: dict[str, Any] = {
    'action': {'kind': 'recognition', 'groups': GROUPS},
    'next': {'kind': 'anticipation', 'groups': GROUPS},
    'change': {'kind': 'state_change'},
    'moment': {'kind': 'point_of_no_return'},
}


@pytest.fixture
def config_of() -> Callable[..., NetworkConfig]:
    """
    Make the config of a network with one task of each kind.

    :param novel: The task with a backpack of the three others, if any.
    :param graph: Settings of the graph.
    :param backpack: Settings of the backpack.
    """

    def make(
        novel: str = '',
        graph: dict[str, Any] | None = None,
        backpack: dict[str, Any] | None = None,
        sharing: str = 'hard',
    ) -> NetworkConfig:
        known = [task for task in TASKS if task != novel] if novel else []
        trunk = {
            'backbone': 'temporal_graph',
            'sharing': sharing,
            'graph': {
                **GRAPH,
                'known': known,
                'concepts': CONCEPTS if novel else (),
                **(graph or {}),
            },
        }
        tasks = {name: {**task, 'trunk': 'memory'} for name, task in TASKS.items()}
        if novel:
            asked = {'tasks': known, 'k': 2, **(backpack or {})}
            tasks[novel]['settings'] = {'backpack': asked}
        return from_mapping(NetworkConfig, {'trunks': {'memory': trunk}, 'tasks': tasks})

    return make


@pytest.fixture
def network_of(config_of: Callable[..., NetworkConfig]) -> Callable[..., MultiTaskNetwork]:
    """Build such a network as it would be after training, in evaluation mode."""

    def make(*args: Any, **settings: Any) -> MultiTaskNetwork:
        network = MultiTaskNetwork(config_of(*args, **settings))
        look_trained(network)
        return network.eval()

    return make


@pytest.fixture
def graph_of() -> Callable[..., TemporalGraph]:
    """Build a temporal graph as it would be after training, in evaluation mode."""

    def make(**settings: Any) -> TemporalGraph:
        graph = TemporalGraph(GraphConfig(**{**GRAPH, **settings}))
        look_trained(graph)
        return graph.eval()

    return make


@pytest.fixture
def windows() -> dict[str, Tensor]:
    """Return windows of each task, batches of different sizes."""
    return {task: torch.randn(2 + i, n, 2, 5) for i, (task, n) in enumerate(INPUTS.items())}


@pytest.fixture(scope='session')
def sage_conv() -> Any:
    """Return torch_geometric's SAGEConv."""
    with warnings.catch_warnings():
        # It compiles parts of itself in a way that PyTorch deprecates.
        warnings.simplefilter('ignore')
        from torch_geometric.nn import SAGEConv
    return SAGEConv


def look_trained(module: nn.Module) -> None:
    """Give norms weights, and prototypes values."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    for bank in getattr(module, 'prototypes', {}).values():
        for task in bank.tasks:
            bank.store(task, torch.randn(bank.of(task).shape))
