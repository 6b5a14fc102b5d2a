"""Tests of :mod:`mtl_perception.network.temporal_graph.window`."""

from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GraphSettings,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
from mtl_perception.network.temporal_graph.window import Window, window_of
import pytest
import torch

CPU = torch.device('cpu')
KINDS: list[GraphSettings] = [
    RecognitionConfig(),
    AnticipationConfig(),
    StateChangeConfig(),
    PointOfNoReturnConfig(),
]


def edges(window: Window) -> set[tuple[int, int]]:
    """Return the edges as (from, to)."""
    return {(int(j), int(i)) for i, j in window.edges(CPU).nonzero()}


@pytest.mark.parametrize('nodes', [1, 2, 4, 9, 16])
def test_nodes_hear_those_next_to_them(nodes: int) -> None:
    chain = {(i, i + 1) for i in range(nodes - 1)} | {(i + 1, i) for i in range(nodes - 1)}
    assert edges(Window(num_inputs=nodes)) == chain


def test_every_node_of_the_future_hears_every_input() -> None:
    found = edges(window_of(AnticipationConfig()))
    chain = {(i, i + 1) for i in range(21)} | {(i + 1, i) for i in range(21)}
    skips = {(i, j) for i in (0, 1) for j in range(2, 22)}
    assert found == chain | skips
    assert len(found) == 2 * 21 + 2 * 20 - 1 == 81


def test_the_mean_matrix_takes_the_mean_over_neighbours() -> None:
    for settings in KINDS:
        window = window_of(settings)
        values = torch.randn(window.num_nodes, 3, dtype=torch.float64)
        found = window.mean_matrix(values) @ values
        for i in range(window.num_nodes):
            heard = [values[j] for j, k in edges(window) if k == i]
            torch.testing.assert_close(found[i], sum(heard) / len(heard))


def test_a_node_without_neighbours_hears_zeros() -> None:
    assert Window(num_inputs=1).mean_matrix(torch.zeros(1)).tolist() == [[0.0]]


def test_positions_count_from_the_centre_of_a_window_that_has_one() -> None:
    assert window_of(RecognitionConfig()).positions(CPU).tolist() == [*range(-4, 5)]
    assert window_of(AnticipationConfig()).positions(CPU).tolist() == [*range(22)]
    assert window_of(PointOfNoReturnConfig()).positions(CPU).tolist() == [*range(16)]


def test_the_future_is_filled_with_the_mean_of_the_inputs() -> None:
    features = torch.randn(3, 2, 4, 5)
    filled = Window(num_inputs=2, num_futures=3).fill(features)
    assert filled.shape == (3, 5, 4, 5)
    assert torch.equal(filled[:, :2], features)
    for node in range(2, 5):
        torch.testing.assert_close(filled[:, node], (features[:, 0] + features[:, 1]) / 2)


def test_each_kind_judges_its_nodes() -> None:
    for settings, judged in zip(KINDS, [[4], [*range(2, 22)], [*range(4)], [*range(16)]]):
        window = window_of(settings)
        nodes = torch.arange(window.num_nodes).view(1, -1, 1)
        assert window.judged(nodes).flatten().tolist() == judged
