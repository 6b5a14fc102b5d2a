"""Tests that every arrangement of temporal graphs passes, and those of each one."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.network.temporal_graph.sharing import (
    build_graph_sharing,
    GRAPH_SHARING,
    GraphSharing,
    TaskTranslation,
)
from mtl_perception.network.temporal_graph.trunk import TemporalGraph
from mtl_perception.network.temporal_graph.window import Window
import pytest
import torch
from torch import nn, Tensor

WINDOWS = {
    'action': Window(num_inputs=9, centred=True),
    'next': Window(num_inputs=2, num_futures=20),
    'change': Window(num_inputs=4),
    'moment': Window(num_inputs=16),
}
all_methods = pytest.mark.parametrize('name', sorted([*GRAPH_SHARING, 'translating']))
Build = Callable[..., GraphSharing]


@pytest.fixture
def build() -> Build:
    """Build an arrangement in evaluation mode; 'translating' is task translation switched on."""

    def make(name: str, windows: dict[str, Window] | None = None, **settings: Any) -> GraphSharing:
        config = GraphConfig(feature_dim=5, num_features=2, width=8)
        method = 'task_translation' if name == 'translating' else name
        if method == 'task_translation':
            settings = {'num_heads': 2, **settings}
        trunk = partial(TemporalGraph, config)
        sharing = build_graph_sharing(method, trunk, windows or WINDOWS, **settings)
        if isinstance(sharing, TaskTranslation):
            sharing.translates = name == 'translating'
        return sharing.eval()

    return make


@all_methods
def test_all_ways_forward_agree(name: str, build: Build) -> None:
    same = {'action': Window(num_inputs=4), 'change': Window(num_inputs=4)}
    sharing, batch = build(name, same), torch.randn(3, 4, 2, 5)
    together = sharing(batch)
    assert list(together) == ['action', 'change']
    for task, nodes in together.items():
        assert nodes.shape == (3, 4, sharing.feature_dim)
        torch.testing.assert_close(sharing.forward_task(batch, task), nodes)


@all_methods
@pytest.mark.parametrize('merge', [True, False])
def test_each_task_gets_the_nodes_of_its_own_windows(
    name: str, merge: bool, build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build(name)
    given = {task: windows[task] for task in ('moment', 'next', 'action')}
    nodes = sharing.forward_tasks(given, merge=merge)
    assert list(nodes) == list(given)
    for task, batch in given.items():
        assert nodes[task].shape == (len(batch), WINDOWS[task].num_nodes, 8)
        torch.testing.assert_close(nodes[task], sharing.forward_task(batch, task))


@all_methods
def test_a_window_does_not_depend_on_the_others_of_its_batch(
    name: str, build: Build, windows: dict[str, Tensor]
) -> None:
    sharing, batch = build(name), windows['change']
    alone = sharing.forward_task(batch[:1], 'change')
    batch[1:] *= 100
    torch.testing.assert_close(sharing.forward_task(batch, 'change')[:1], alone)


@all_methods
def test_tasks_that_are_not_merged_have_graphs_of_their_own(
    name: str, build: Build, windows: dict[str, Tensor]
) -> None:
    nodes = build(name).forward_tasks(windows, merge=False)
    for values in nodes.values():
        values.sum().backward()  # would fail on a graph that another task has used up


@all_methods
def test_the_copies_cover_the_graph_and_hold_none_of_its_weights_twice(
    name: str, build: Build
) -> None:
    copies = build(name).copies()
    paths = [path for path, _ in copies]
    assert {*paths} == {'pooling', 'layers.0', 'layers.1', 'layers.2', 'output'}
    parameters = [p for _, part in copies for p in part.parameters()]
    assert len({id(p) for p in parameters}) == len(parameters)
    graph = TemporalGraph(GraphConfig(feature_dim=5, num_features=2, width=8))
    share = len(parameters) / len([*graph.parameters()])
    assert share == (1 if name == 'hard' else len(WINDOWS))


@all_methods
def test_a_deployed_arrangement_is_an_equal_and_independent_copy(
    name: str, build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build(name)
    deployed = sharing.train().deploy()
    sharing.eval()
    assert not any(p.requires_grad for p in deployed.parameters())
    for task, nodes in deployed.forward_tasks(windows).items():
        torch.testing.assert_close(nodes, sharing.forward_tasks(windows)[task])
    before = deployed.forward_tasks(windows)['action']
    with torch.no_grad():
        for parameter in sharing.parameters():
            parameter.zero_()
    assert torch.equal(deployed.forward_tasks(windows)['action'], before)


@all_methods
def test_every_tensor_is_in_the_state_dict(
    name: str, build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build(name)
    # What the state dict says holds, also of whether there is translation.
    other = build('task_translation' if name == 'translating' else name)
    other.load_state_dict(sharing.state_dict())
    for task, nodes in other.forward_tasks(windows).items():
        torch.testing.assert_close(nodes, sharing.forward_tasks(windows)[task])


@all_methods
def test_an_unknown_task_is_refused(name: str, build: Build) -> None:
    with pytest.raises(ValueError, match="Unknown task 'other'"):
        build(name).forward_tasks({'other': torch.zeros(1, 9, 2, 5)})


@all_methods
def test_windows_of_another_length_are_refused(name: str, build: Build) -> None:
    with pytest.raises(ValueError, match=r"'next' must be \[B, 2, 2, 5\], got \(1, 9, 2, 5\)"):
        build(name)(torch.zeros(1, 9, 2, 5))


def test_an_unknown_arrangement_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="Unknown sharing method 'cross_stitch'; known"):
        build('cross_stitch')


@pytest.mark.parametrize('name', GRAPH_SHARING)
def test_an_unknown_setting_is_refused(name: str, build: Build) -> None:
    with pytest.raises(ValueError, match=rf"Sharing '{name}' has no setting \['speed'\]"):
        build(name, speed=1)


def own_parameters(trunks: nn.ModuleDict, task: str) -> set[int]:
    return {id(p) for p in trunks[task].parameters()}


@all_methods
def test_losses_reach_what_is_shared_and_the_own_graph(
    name: str, build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build(name)
    sharing.forward_task(windows['change'], 'change').square().sum().backward()
    reached = {id(p) for p in sharing.parameters() if p.grad is not None and p.grad.any()}
    shared = {id(p) for p in sharing.shared_parameters()}
    if name in ('hard', 'translating'):
        assert reached <= shared
        assert shared == {id(p) for p in sharing.parameters()}
    else:
        assert not shared
        assert reached <= own_parameters(sharing.task_trunks, 'change')  # type: ignore[arg-type]


def test_a_single_task_shares_nothing(build: Build) -> None:
    assert build('hard', {'action': WINDOWS['action']}).shared_parameters() == []


def test_without_translation_each_task_has_its_own_graph(
    build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build('task_translation')
    assert isinstance(sharing, TaskTranslation)
    before = sharing.forward_tasks(windows)
    with torch.no_grad():
        for part in (sharing.encoder, sharing.decoder, sharing.task_trunks['change']):
            for parameter in part.parameters():
                parameter.add_(1)
    after = sharing.forward_tasks(windows)
    assert [t for t in windows if not torch.equal(before[t], after[t])] == ['change']


def test_translation_listens_to_the_graphs_of_all_tasks(
    build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build('translating')
    assert isinstance(sharing, TaskTranslation)
    before = sharing.forward_task(windows['action'], 'action')
    for task in WINDOWS:
        other = build('translating')
        other.load_state_dict(sharing.state_dict())
        with torch.no_grad():
            for parameter in other.task_trunks[task].parameters():  # type: ignore[union-attr,operator,index]
                parameter.mul_(1.5)
        assert (other.forward_task(windows['action'], 'action') - before).abs().max() > 1e-3


def test_translation_trains_with_the_graphs_frozen(
    build: Build, windows: dict[str, Tensor]
) -> None:
    sharing = build('translating')
    assert isinstance(sharing, TaskTranslation)
    sharing.task_trunks.requires_grad_(False)
    trained = {id(p) for p in sharing.shared_parameters()}
    parts = (*sharing.encoder.parameters(), *sharing.decoder.parameters(), sharing.owners)
    assert trained == {id(p) for p in parts}
    sharing.forward_task(windows['next'], 'next').square().sum().backward()
    assert all(p.grad is not None for p in parts)
    assert all(p.grad is None for p in sharing.task_trunks.parameters())


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'num_heads': 3}, 'num_heads must divide the width 8, got 3'),
        ({'num_heads': 0}, 'num_heads must be an integer of at least 1, got 0'),
        ({'dropout': 1.0}, r'dropout must lie in \[0, 1\), got 1.0'),
    ],
)
def test_wrong_settings_of_a_translator_are_refused(
    settings: dict[str, Any], message: str, build: Build
) -> None:
    with pytest.raises(ValueError, match=message):
        build('task_translation', **settings)
