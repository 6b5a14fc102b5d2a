"""Tests of temporal graphs as part of the one network."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import CheckpointError, load_network, save_checkpoint
from mtl_perception.network import from_mapping, MultiTaskNetwork, NetworkConfig, to_mapping
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_training.initial_checkpoint import load_parts
import pytest
import torch
from torch import Tensor

TASKS = ('action', 'next', 'change', 'moment')
Networks = Callable[..., MultiTaskNetwork]
Configs = Callable[..., NetworkConfig]


def tensors_of(output: Any) -> list[Tensor]:
    return [*output.values()] if isinstance(output, Mapping) else [output]


def total(output: Any) -> Tensor:
    return torch.stack([values.square().sum() for values in tensors_of(output)]).sum()


def assert_equal_outputs(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert list(one) == list(other)
    for task in one:
        torch.testing.assert_close(one[task], other[task])


@pytest.mark.parametrize('novel', ['', *TASKS])
@pytest.mark.parametrize('merge', [True, False])
def test_outputs_have_the_shapes_of_their_kinds(
    novel: str, merge: bool, network_of: Networks, windows: dict[str, Tensor]
) -> None:
    outputs = network_of(novel).forward_tasks(windows, merge=merge)
    assert {group: tuple(v.shape) for group, v in outputs['action'].items()} == {
        'verb': (2, 3),
        'noun': (2, 2),
    }
    assert {group: tuple(v.shape) for group, v in outputs['next'].items()} == {
        'verb': (3, 20, 3),
        'noun': (3, 20, 2),
    }
    assert outputs['change'].shape == (4, 2)
    assert outputs['moment'].shape == (5, 16)


@pytest.mark.parametrize('votes', ['sum', 'mean'])
@pytest.mark.parametrize('novel', TASKS)
def test_the_output_is_what_all_perspectives_vote_for(
    novel: str, votes: str, network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of(novel, backpack={'votes': votes})
    found = network.perspectives(novel, windows[novel])
    others = [task for task in TASKS if task != novel]
    assert [*found.logits] == [novel, *others]
    output = network.forward_tasks({novel: windows[novel]})[novel]
    parts = zip(*(tensors_of(view) for view in found.logits.values()))
    for values, views in zip(tensors_of(output), parts):
        expected = sum(views) if votes == 'sum' else sum(views) / len(views)
        torch.testing.assert_close(values, expected)
    judged = {'action': 1, 'next': 20, 'change': 4, 'moment': 16}[novel]
    assert [*found.matches] == others
    for matches in found.matches.values():
        assert matches.shape == (3, len(windows[novel]), judged, 2)
        assert matches.dtype == torch.int64
        assert 0 <= int(matches.min()) <= int(matches.max()) < 5


def test_a_task_without_a_backpack_has_its_own_perspective_alone(
    network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of()
    logits, matches = network.perspectives('change', windows['change'])
    assert [*logits] == ['change']
    assert matches == {}
    torch.testing.assert_close(
        network.forward_tasks({'change': windows['change']})['change'], logits['change']
    )


@pytest.mark.parametrize('settings', [{'depth': 0}, {'k': 0}])
def test_without_exchanges_the_features_of_all_tasks_vote_as_they_are(
    settings: dict[str, int], network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of('moment', backpack=settings, graph={'known': [], 'concepts': []})
    assert len(network.prototypes) == 0
    nodes = network.sharing('memory').forward_task(windows['moment'], 'moment')
    head: Any = network.heads['moment']
    votes = head.classifiers(head.project(nodes))
    for other in ('action', 'next', 'change'):
        seen: Any = network.heads[other]
        votes = votes + head.voters[other](seen.project(nodes))
    torch.testing.assert_close(network.forward_tasks(windows)['moment'], votes)


def test_only_the_centre_of_recognition_is_judged_and_trained_on(
    network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of(graph={'num_layers': 0})
    features = windows['action'].requires_grad_()
    total(network.forward_tasks({'action': features})['action']).backward()
    reached = features.grad.abs().sum((0, 2, 3))  # type: ignore[union-attr]
    assert reached.nonzero().flatten().tolist() == [4]


def test_recognition_sees_three_nodes_to_each_side(
    network_of: Networks, windows: dict[str, Tensor]
) -> None:
    features = windows['action'].double().requires_grad_()
    total(network_of().double().forward_tasks({'action': features})['action']).backward()
    reached = features.grad.abs().sum((0, 2, 3))  # type: ignore[union-attr]
    assert reached.nonzero().flatten().tolist() == [*range(1, 8)]


@pytest.mark.parametrize('task', TASKS)
def test_a_window_does_not_depend_on_the_others_of_its_batch(
    task: str, network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of(task)
    alone = network.forward_tasks({task: windows[task][:1]})[task]
    windows[task][1:] *= 100
    together = network.forward_tasks({task: windows[task]})[task]
    for one, all_of_them in zip(tensors_of(alone), tensors_of(together)):
        torch.testing.assert_close(all_of_them[:1], one)


def test_prototypes_and_the_heads_of_others_do_not_learn_when_detached(
    network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of('moment').train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(2):
        optimiser.zero_grad()
        total(network.forward_tasks({'moment': windows['moment']})['moment']).backward()
        optimiser.step()
    after = network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    own = ('trunks.', 'heads.moment.')
    assert changed == {name for name in after if name.startswith(own)}
    assert {name for name in after if name.startswith('prototypes.')} == {
        f'prototypes.memory.means.{task}' for task in ('action', 'next', 'change')
    }


@pytest.mark.parametrize('detach', [True, False])
def test_perspectives_reach_heads_and_trunk_unless_they_are_detached(
    detach: bool, network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of('change', backpack={'detach': detach})
    logits = network.perspectives('change', windows['change']).logits
    total({name: view for name, view in logits.items() if name != 'change'}).backward()
    reached = {
        name.rsplit('.', 2)[0].partition('.project')[0]
        for name, p in network.named_parameters()
        if p.grad is not None and not name.startswith('heads.change.')
    }
    heads = {f'heads.{task}' for task in ('action', 'next', 'moment')}
    assert reached & heads == (set() if detach else heads)
    assert any(name.startswith('trunks.') for name in reached) is not detach
    total(network.forward_tasks({'change': windows['change']})['change']).backward()
    trunk = network.sharing('memory').parameters()
    assert all(parameter.grad is not None for parameter in trunk)


def test_project_is_what_tasks_see_of_the_centre(
    network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of()
    found = network.project('action', windows['action'], ['change', 'action'])
    assert [*found] == ['change', 'action']
    nodes = network.sharing('memory').forward_task(windows['action'], 'action')
    for task, values in found.items():
        assert values.shape == (2, 8)
        head: Any = network.heads[task]
        torch.testing.assert_close(values, head.project(nodes[:, 4]))


def test_project_refuses_what_has_no_centre_and_other_trunks(
    network_of: Networks, config_of: Configs, windows: dict[str, Tensor]
) -> None:
    with pytest.raises(ValueError, match="'change' must be of kind recognition, it is of state"):
        network_of().project('change', windows['change'], ['change'])
    block = to_mapping(config_of())
    block['trunks']['other'] = block['trunks']['memory']
    block['tasks']['change']['trunk'] = 'other'
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block))
    with pytest.raises(ValueError, match="'action' and 'change' must read the same trunk"):
        network.project('action', windows['action'], ['change'])


def with_one_length(config: NetworkConfig) -> NetworkConfig:
    settings = {
        'action': {'num_nodes': 5},
        'next': {'num_inputs': 5},
        'change': {'num_nodes': 5},
        'moment': {'num_nodes': 5},
    }
    tasks = {name: replace(t, settings=settings[name]) for name, t in config.tasks.items()}
    return replace(config, tasks=tasks)


@pytest.mark.parametrize('sharing', ['hard', 'single_task'])
def test_all_ways_forward_agree_on_windows_of_one_length(sharing: str, config_of: Configs) -> None:
    network = MultiTaskNetwork(with_one_length(config_of(sharing=sharing))).eval()
    batch = torch.randn(2, 5, 2, 5)
    expected = network.forward_tasks(dict.fromkeys(TASKS, batch))
    assert_equal_outputs(network({'memory': batch}), expected)
    assert_equal_outputs(network.forward_heads('next', batch, TASKS), expected)
    assert {t: tuple(v.shape) for t, v in network.features({'memory': batch}).items()} == {
        'action': (2, 5, 8),
        'next': (2, 25, 8),
        'change': (2, 5, 8),
        'moment': (2, 5, 8),
    }


def test_windows_of_different_lengths_are_not_read_as_one(network_of: Networks) -> None:
    with pytest.raises(ValueError, match=r"features of task 'next' must be \[B, 2, 2, 5\]"):
        network_of()({'memory': torch.zeros(1, 9, 2, 5)})


def test_windows_have_no_scores_of_clips(config_of: Configs) -> None:
    network = MultiTaskNetwork(with_one_length(config_of()))
    with pytest.raises(ValueError, match="scores are of clips, the task 'action' is of kind reco"):
        network.scores({'memory': torch.zeros(1, 5, 2, 5)})


@pytest.mark.parametrize('novel', ['', 'moment'])
def test_a_deployed_network_says_the_same(
    novel: str, network_of: Networks, windows: dict[str, Tensor]
) -> None:
    network = network_of(novel)
    deployed = network.deploy()
    assert_equal_outputs(deployed.forward_tasks(windows), network.forward_tasks(windows))
    assert not any(p.requires_grad for p in deployed.parameters())


def save(path: Path, network: MultiTaskNetwork) -> Path:
    save_checkpoint(path, network, metrics={}, training={})
    return path


@pytest.mark.parametrize('sharing', ['hard', 'task_translation'])
def test_a_checkpoint_keeps_outputs_and_prototypes(
    sharing: str, network_of: Networks, windows: dict[str, Tensor], tmp_path: Path
) -> None:
    network = network_of('next' if sharing == 'hard' else '', sharing=sharing)
    if sharing == 'task_translation':
        network.sharing('memory').translates = True  # type: ignore[assignment]
    loaded, checkpoint = load_network(save(tmp_path / 'a.safetensors', network))
    assert checkpoint.config == network.config
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert_equal_outputs(loaded.forward_tasks(windows), network.forward_tasks(windows))
    if sharing == 'hard':
        bank: Any = loaded.prototypes['memory']
        assert isinstance(bank, PrototypeBank)
        assert bank.concepts == network.config.trunks['memory'].graph.concepts  # type: ignore[union-attr]


def test_a_checkpoint_whose_prototypes_do_not_fit_its_concepts_is_refused(
    network_of: Networks, tmp_path: Path
) -> None:
    network = network_of('next')
    graph = network.config.trunks['memory'].graph
    assert graph is not None
    more = replace(graph, concepts=tuple(f'concept {i}' for i in range(6)))
    trunk = replace(network.config.trunks['memory'], graph=more)
    path = tmp_path / 'a.safetensors'
    network.config = replace(network.config, trunks={'memory': trunk})
    save(path, network)
    with pytest.raises(
        CheckpointError, match=r"'prototypes.memory.means.action' has shape \(5, 8"
    ):
        load_network(path)


def test_a_network_starts_from_the_parts_of_a_checkpoint(
    network_of: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = network_of('next')
    path = str(save(tmp_path / 'a.safetensors', given))
    network = network_of('next')
    parts = load_parts(network, path)
    assert parts == ['trunks.memory', *(f'heads.{t}' for t in TASKS), 'prototypes.memory']
    for name, value in given.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert not caplog.messages
    load_parts(network_of('next', backpack={'votes': 'mean'}), path)
    assert 'heads.next: backpack' in caplog.messages[0]


def test_a_first_stage_without_prototypes_starts_a_second_one_with_them(
    network_of: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = network_of('', graph={'dropout': 0.25})
    path = str(save(tmp_path / 'a.safetensors', given))
    network = network_of('next')
    del network.heads['next']
    before = {t: m.clone() for t, m in network.prototypes.state_dict().items()}
    assert load_parts(network, path) == [
        'trunks.memory',
        *(f'heads.{task}' for task in ('action', 'change', 'moment')),
    ]
    assert all(torch.equal(m, before[t]) for t, m in network.prototypes.state_dict().items())
    (message,) = caplog.messages
    assert message.endswith('settings of trunks.memory: graph.dropout 0.25 (here 0.5).')


def test_parts_that_mean_something_else_are_refused(network_of: Networks, tmp_path: Path) -> None:
    path = str(save(tmp_path / 'a.safetensors', network_of('next')))
    network = network_of('next', graph={'concepts': ['a', 'b', 'c', 'd', 'e']})
    with pytest.raises(ValueError, match=r"'prototypes.memory': its concepts are .*take knife"):
        load_parts(network, path)
    network = network_of('next')
    action = replace(
        network.config.tasks['action'], groups={'verb': ('a', 'b', 'c'), 'noun': ('d', 'e')}
    )
    network.config = replace(network.config, tasks={**network.config.tasks, 'action': action})
    with pytest.raises(ValueError, match=r"'heads.action': its groups are .*'take'"):
        load_parts(network, path)


def changed(config: NetworkConfig, path: str, value: Any) -> NetworkConfig:
    block = to_mapping(config)
    *parents, last = path.split('.')
    inner = block
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return from_mapping(NetworkConfig, block)


BACKPACK = 'tasks.moment.settings.backpack'


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('tasks.action.groups', {}, r"needs groups of labels, got none for \['action'\]"),
        ('trunks.memory.sharing', 'single_task', "moment.settings.backpack needs the sharing 'ha"),
        ('trunks.memory.graph.known', ['action'], r"must have prototypes, .*got \['change', 'ne"),
        ('trunks.memory.graph.concepts', ['a'], 'k must be at most the number of concepts, 1, g'),
        (f'{BACKPACK}.k', 6, 'k must be at most the number of concepts, 5, got 6'),
        (f'{BACKPACK}.tasks', ['moment'], r"must be others of its trunk, .* got \['moment'\]"),
        (f'{BACKPACK}.tasks', ['other'], r"must be others of its trunk, .* got \['other'\]"),
        ('tasks.change.settings', {'nodes': 3}, "tasks.change.settings has no entry 'nodes'"),
    ],
)
def test_a_network_that_does_not_fit_together_is_refused(
    path: str, value: Any, message: str, config_of: Configs
) -> None:
    with pytest.raises(ValueError, match=message):
        MultiTaskNetwork(changed(config_of('moment'), path, value))


def test_backpacks_that_would_take_minutes_to_build_are_refused(config_of: Configs) -> None:
    block = to_mapping(config_of('moment'))
    names = [f'known_{number}' for number in range(17)]
    block['tasks'] |= dict.fromkeys(names, block['tasks']['action'])
    block['trunks']['memory']['graph']['known'] = names
    block['tasks']['moment']['settings']['backpack'] = {'tasks': names, 'k': 1, 'depth': 64}
    with pytest.raises(ValueError, match=r'at most 1024 interactions, .* got 1088'):
        MultiTaskNetwork(from_mapping(NetworkConfig, block))


def test_the_source_of_features_must_have_their_size(config_of: Configs) -> None:
    block = to_mapping(config_of())
    block['trunks']['clip'] = {'width': 4, 'num_frames': 2}
    block['tasks']['gesture'] = {'labels': ['wave', 'stop']}
    block['trunks']['memory']['graph']['source'] = 'gesture'
    with pytest.raises(ValueError, match=r"feature_dim must be the 32 .*'gesture', got 5"):
        MultiTaskNetwork(from_mapping(NetworkConfig, block))
    block['trunks']['memory']['graph']['feature_dim'] = 32
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block)).eval()
    # Both in one pass, each by its own trunk.
    outputs = network.forward_tasks(
        {'change': torch.randn(2, 4, 2, 32), 'gesture': torch.randn(1, 3, 2, 8, 8)}
    )
    assert [*outputs] == ['change', 'gesture']
    assert outputs['gesture'].shape == (1, 2)
    assert network.scores({'clip': torch.randn(1, 3, 2, 8, 8)})['gesture'].shape == (1, 3)
