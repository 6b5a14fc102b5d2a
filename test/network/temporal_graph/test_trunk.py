"""Tests of :mod:`mtl_perception.network.temporal_graph.trunk`."""

from collections.abc import Callable
import math
from typing import Any

from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GraphSettings,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
from mtl_perception.network.temporal_graph.trunk import (
    encoded_positions,
    GraphLayer,
    TemporalGraph,
)
from mtl_perception.network.temporal_graph.window import Window, window_of
import pytest
import torch
from torch import Tensor

SETTINGS: dict[str, GraphSettings] = {
    'action': RecognitionConfig(),
    'next': AnticipationConfig(),
    'change': StateChangeConfig(),
    'moment': PointOfNoReturnConfig(),
}
WINDOWS = {task: window_of(settings) for task, settings in SETTINGS.items()}


@pytest.mark.parametrize('task', WINDOWS)
def test_a_layer_is_that_of_torch_geometric(task: str, sage_conv: Any) -> None:
    window, width, batch = WINDOWS[task], 12, 3
    layer = GraphLayer(width)
    oracle = sage_conv(width, width, aggr='mean', project=True)
    with torch.no_grad():
        for name, part in (('lin', layer.project), ('lin_l', layer.neighbours)):
            getattr(oracle, name).load_state_dict(part.state_dict())
        oracle.lin_r.load_state_dict(layer.root.state_dict())
    nodes = torch.randn(batch * window.num_nodes, width)
    heard, said = window.edges(nodes.device).nonzero().T
    one = torch.stack([said, heard])
    edges = torch.cat([one + i * window.num_nodes for i in range(batch)], 1)
    found = layer.convolve(nodes, [(batch, window.mean_matrix(nodes))])
    torch.testing.assert_close(found, oracle(nodes, edges), rtol=0, atol=1e-5)


def test_tasks_in_one_pass_have_the_nodes_of_passes_of_their_own(
    graph_of: Callable[..., TemporalGraph], windows: dict[str, Tensor]
) -> None:
    graph = graph_of()
    together = graph(windows, WINDOWS)
    for task, batch in windows.items():
        assert together[task].shape == (len(batch), WINDOWS[task].num_nodes, 8)
        torch.testing.assert_close(together[task], graph({task: batch}, WINDOWS)[task])


@pytest.mark.parametrize('training', [False, True])
def test_a_window_does_not_depend_on_the_others_of_its_batch(
    training: bool, graph_of: Callable[..., TemporalGraph], windows: dict[str, Tensor]
) -> None:
    graph = graph_of(dropout=0.0).train(training)
    alone = graph({'action': windows['action'][:1]}, WINDOWS)['action']
    windows['action'][1:] = 100 * torch.randn_like(windows['action'][1:])
    torch.testing.assert_close(graph(windows, WINDOWS)['action'][:1], alone)


def changed_nodes(graph: TemporalGraph, window: Window, place: int) -> list[int]:
    """Return which nodes change with the features of one of them."""
    features = torch.randn(1, window.num_inputs, 2, 5, dtype=torch.float64)
    other = features.clone()
    other[:, place] += 1
    nodes = [graph.double()({'x': x}, {'x': window})['x'][0] for x in (features, other)]
    return (nodes[0] != nodes[1]).any(1).nonzero().flatten().tolist()


def test_three_layers_see_three_nodes_to_each_side_and_no_more(
    graph_of: Callable[..., TemporalGraph],
) -> None:
    graph, window = graph_of(), Window(num_inputs=16)
    assert changed_nodes(graph, window, 8) == [*range(5, 12)]
    centred = WINDOWS['action']
    assert [4 in changed_nodes(graph, centred, i) for i in range(9)] == [
        False,
        *[True] * 7,
        False,
    ]


def test_without_layers_nodes_see_nothing_but_themselves(
    graph_of: Callable[..., TemporalGraph],
) -> None:
    graph = graph_of(num_layers=0)
    assert changed_nodes(graph, Window(num_inputs=9), 4) == [4]
    assert [name for name, _ in graph.stages()] == ['pooling']
    features = torch.randn(1, 1, 2, 5, dtype=torch.float64).expand(1, 9, 2, 5)
    nodes = graph({'x': features}, {'x': Window(num_inputs=9)})['x']
    torch.testing.assert_close(nodes, nodes[:, :1].expand(1, 9, 8))


def test_nodes_know_their_place(graph_of: Callable[..., TemporalGraph]) -> None:
    features = torch.randn(1, 1, 2, 5).expand(1, 9, 2, 5)
    nodes = graph_of()({'x': features}, {'x': Window(num_inputs=9)})['x'][0]
    assert (torch.cdist(nodes, nodes) + torch.eye(9) > 1e-4).all()


def test_every_input_reaches_every_node_of_the_future(
    graph_of: Callable[..., TemporalGraph],
) -> None:
    graph = graph_of(num_layers=1)
    for place in (0, 1):
        assert changed_nodes(graph, WINDOWS['next'], place) == [*range(22)]


def test_dropout_is_in_training_alone(
    graph_of: Callable[..., TemporalGraph], windows: dict[str, Tensor]
) -> None:
    graph, batch = graph_of(), {'change': windows['change']}
    first = graph(batch, WINDOWS)['change']
    assert torch.equal(first, graph(batch, WINDOWS)['change'])
    assert not torch.equal(first, graph.train()(batch, WINDOWS)['change'])


@pytest.mark.parametrize('width', [1, 7, 8])
def test_places_are_sines_and_cosines_of_falling_frequency(width: int) -> None:
    found = encoded_positions(torch.tensor([-4, 0, 3]), torch.zeros(1, width))
    for row, place in zip(found, (-4, 0, 3)):
        for c in range(width):
            angle = place / 10000 ** (c // 2 * 2 / width)
            expected = math.cos(angle) if c % 2 else math.sin(angle)
            assert float(row[c]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ('shape', 'found'),
    [((1, 8, 2, 5), r'\(1, 8, 2, 5\)'), ((1, 9, 3, 5), r'\(1, 9, 3'), ((9, 2, 5), r'\(9, 2, 5\)')],
)
def test_features_of_another_shape_are_refused(
    shape: tuple[int, ...], found: str, graph_of: Callable[..., TemporalGraph]
) -> None:
    with pytest.raises(ValueError, match=rf"'action' must be \[B, 9, 2, 5\], got {found}"):
        graph_of()({'action': torch.zeros(shape)}, WINDOWS)


def test_half_precision_gives_about_the_same(
    graph_of: Callable[..., TemporalGraph], windows: dict[str, Tensor]
) -> None:
    graph = graph_of()
    expected = graph(windows, WINDOWS)
    halves = {task: x.bfloat16() for task, x in windows.items()}
    for task, nodes in graph.bfloat16()(halves, WINDOWS).items():
        assert nodes.dtype == torch.bfloat16
        torch.testing.assert_close(nodes.float(), expected[task], rtol=0.05, atol=0.1)
