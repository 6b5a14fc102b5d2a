"""Tests of prototypes and of the exchanges with them."""

from mtl_perception.network.temporal_graph.backpack import Exchange, Interaction
from mtl_perception.network.temporal_graph.config import BackpackConfig
from mtl_perception.network.temporal_graph.prototypes import nearest, PrototypeBank
import pytest
import torch
from torch import nn, Tensor


def test_prototypes_are_kept_by_task_and_concept() -> None:
    # Names that a module has for other things.
    bank = PrototypeBank(('of', 'concepts'), ('take knife', 'cut bread'), 3)
    assert bank.concepts == ('take knife', 'cut bread')
    means = torch.arange(6, dtype=torch.float64).view(2, 3)
    bank.store('of', means)
    assert torch.equal(bank.of('of'), means.float())
    assert not bank.of('concepts').any()


def test_prototypes_are_in_the_state_but_are_no_parameters() -> None:
    bank = PrototypeBank(('action',), ('take knife', 'cut bread'), 3)
    bank.store('action', torch.randn(2, 3))
    assert not [*bank.parameters()]
    other = PrototypeBank(('action',), ('take knife', 'cut bread'), 3)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.of('action'), bank.of('action'))


def test_stored_prototypes_are_a_copy_without_gradients() -> None:
    bank, means = PrototypeBank(('action',), ('a', 'b'), 3), torch.ones(2, 3, requires_grad=True)
    bank.store('action', means)
    with torch.no_grad():
        means.zero_()
    assert bank.of('action').eq(1).all()
    assert not bank.of('action').requires_grad


@pytest.mark.parametrize(
    ('task', 'means', 'message'),
    [
        ('other', torch.zeros(2, 3), "Task 'other' has no prototypes; those that have"),
        ('action', torch.zeros(3, 3), r"'action' must be \(2, 3\), got \(3, 3\)"),
        ('action', torch.full((2, 3), torch.nan), "means of task 'action' must be finite"),
    ],
)
def test_wrong_prototypes_are_refused(task: str, means: Tensor, message: str) -> None:
    bank = PrototypeBank(('action',), ('a', 'b'), 3)
    with pytest.raises(ValueError, match=message):
        bank.store(task, means)


def test_the_nearest_prototypes_are_those_of_the_largest_cosines() -> None:
    queries, prototypes = torch.randn(3, 4, 6), torch.randn(10, 6)
    found = nearest(queries, prototypes, 4)
    assert found.shape == (3, 4, 4)
    for query, indices in zip(queries.flatten(0, 1), found.flatten(0, 1).tolist()):
        cosines = [float(torch.cosine_similarity(query, p, dim=0)) for p in prototypes]
        assert indices == sorted(range(10), key=lambda c: -cosines[c])[:4]


def test_the_length_of_prototypes_does_not_matter_as_it_would_for_distances() -> None:
    queries, prototypes = torch.randn(2, 5, 6), torch.randn(30, 6)
    scaled = prototypes * torch.empty(30, 1).uniform_(0.05, 20)
    assert torch.equal(nearest(queries, scaled, 4), nearest(queries, prototypes, 4))
    by_distance = [
        torch.cdist(queries.flatten(0, 1), these).topk(4, largest=False).indices
        for these in (prototypes, scaled)
    ]
    assert not torch.equal(*by_distance)


def test_half_precision_finds_neighbours_of_any_length() -> None:
    queries, prototypes = torch.randn(1, 3, 8), torch.randn(20, 8)
    long = (queries * 3e4 / queries.abs().max()).half()
    assert torch.equal(
        nearest(long, prototypes.half().float(), 4),
        nearest(long.double(), prototypes.half().double(), 4),
    )


def moving(layer: Interaction, step: Tensor) -> None:
    """Make an exchange add the same to every node."""
    with torch.no_grad():
        layer.output.weight.zero_()
        layer.output.bias.copy_(step)


def test_every_exchange_matches_nodes_as_they_are() -> None:
    exchange = Exchange(2, BackpackConfig(tasks=('x',), k=1, depth=3))
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    for layer, step in zip(exchange.layers, [[-1.0, 3.0], [-3.0, -3.0], [0.0, 0.0]]):
        assert isinstance(layer, Interaction)
        moving(layer, torch.tensor(step))
    nodes, matches = exchange(torch.tensor([[[1.0, 0.0]]]), prototypes)
    # (1, 0), then (0, 3), then (-3, 0)
    assert matches.flatten().tolist() == [0, 1, 2]
    assert nodes.flatten().tolist() == [-3.0, 0.0]


@pytest.mark.parametrize(('aggregation', 'heard'), [('max', [4.0, 3.0]), ('mean', [2.0, 4 / 3])])
def test_what_a_node_hears_includes_itself(aggregation: str, heard: list[float]) -> None:
    layer = Interaction(2, 2, aggregation)
    prototypes = torch.tensor([[4.0, 0.5], [-1.0, 3.0], [0.0, -9.0]])
    node = torch.tensor([[[3.0, 0.5]]])
    given: list[Tensor] = []
    layer.neighbours.register_forward_hook(lambda _m, args, _out: given.append(args[0]))
    _, indices = layer(node, prototypes)
    assert indices.flatten().tolist() == [0, 1]
    torch.testing.assert_close(given[0].flatten(), torch.tensor(heard))


@pytest.mark.parametrize('settings', [{'depth': 0}, {'k': 0}])
def test_without_depth_or_neighbours_nodes_stay_as_they_are(settings: dict[str, int]) -> None:
    config = BackpackConfig(tasks=('x',), **settings)  # type: ignore[arg-type]
    exchange, nodes = Exchange(4, config), torch.randn(2, 3, 4)
    after, matches = exchange(nodes, None)
    assert torch.equal(after, nodes)
    assert matches.shape == (0, 2, 3, config.k)
    assert not [*exchange.parameters()]


def test_exchanges_have_weights_of_their_own() -> None:
    exchange = Exchange(4, BackpackConfig(tasks=('x',), depth=2))
    first, second = exchange.layers
    assert not torch.equal(
        *(nn.utils.parameters_to_vector(layer.parameters()) for layer in (first, second))
    )
    assert {name: p.shape for name, p in first.named_parameters()} == {
        'root.weight': (4, 4),
        'neighbours.weight': (4, 4),
        'norm.weight': (4,),
        'norm.bias': (4,),
        'output.weight': (4, 4),
        'output.bias': (4,),
    }
