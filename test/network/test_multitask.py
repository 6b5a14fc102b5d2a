"""Tests of :mod:`mtl_perception.network.multitask`."""

from collections.abc import Callable
from dataclasses import replace

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.sharing import SHARING
import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

Make = Callable[..., MultiTaskNetwork]
all_methods = pytest.mark.parametrize('sharing', sorted(SHARING))


def clips(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 16, 16)


@all_methods
def test_logits_have_one_column_per_label(sharing: str, make_network: Make) -> None:
    logits = make_network(sharing)({'clip': clips()})
    assert {task: tuple(value.shape) for task, value in logits.items()} == {
        'action': (2, 3),
        'gesture': (2, 2),
    }


@all_methods
@pytest.mark.parametrize('merge', [True, False])
def test_forward_and_forward_tasks_agree(sharing: str, merge: bool, make_network: Make) -> None:
    network, batch = make_network(sharing), clips()
    together = network({'clip': batch})
    apart = network.forward_tasks({'gesture': batch, 'action': batch}, merge=merge)
    assert list(apart) == ['gesture', 'action']
    for task, logits in apart.items():
        torch.testing.assert_close(logits, together[task])


@all_methods
def test_a_deployed_network_is_an_equal_and_independent_copy(
    sharing: str, make_network: Make
) -> None:
    network, batch = make_network(sharing), clips()
    expected = {task: logits.detach() for task, logits in network({'clip': batch}).items()}
    network.train()
    deployed = network.deploy()
    assert network.training
    assert not deployed.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in deployed.parameters())
    assert not any(isinstance(m, nn.BatchNorm3d) for m in deployed.modules())
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    for task, logits in deployed({'clip': batch}).items():
        assert not logits.requires_grad
        torch.testing.assert_close(logits, expected[task], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('merge', [True, False])
def test_a_loss_reaches_the_whole_shared_trunk_and_its_own_head_only(
    merge: bool, make_network: Make
) -> None:
    network = make_network('hard')
    frozen = network.trunks['clip'].trunk.layer1.requires_grad_(False)
    for task, other in (('action', 'gesture'), ('gesture', 'action')):
        network.zero_grad()
        logits = network.forward_tasks({'action': clips(), 'gesture': clips()}, merge=merge)
        F.cross_entropy(logits[task], torch.tensor([0, 1])).backward()
        for name, parameter in network.trunks.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.count_nonzero(), name
        assert all(p.grad is None for p in frozen.parameters())
        assert network.heads[task].weight.grad.count_nonzero()
        gradient = network.heads[other].weight.grad
        assert gradient is None or not gradient.count_nonzero()


def test_a_trunk_without_tasks_is_not_built() -> None:
    clip = TrunkConfig(width=2)
    tasks = {'action': TaskConfig(labels=('a', 'b'))}
    lean = MultiTaskNetwork(NetworkConfig(trunks={'clip': clip}, tasks=tasks))
    idle = MultiTaskNetwork(
        NetworkConfig(trunks={'clip': clip, 'big': TrunkConfig()}, tasks=tasks)
    )
    assert list(idle.trunks) == ['clip']
    assert idle.state_dict().keys() == lean.state_dict().keys()


def test_adding_a_task_is_one_entry_and_adds_one_head() -> None:
    trunks = {'clip': TrunkConfig(width=2)}
    tasks = {'action': TaskConfig(labels=('a', 'b'))}
    before = MultiTaskNetwork(NetworkConfig(trunks=trunks, tasks=tasks)).state_dict().keys()
    tasks['mood'] = TaskConfig(labels=('good', 'bad', 'ugly'))
    after = MultiTaskNetwork(NetworkConfig(trunks=trunks, tasks=tasks)).state_dict().keys()
    assert after - before == {'heads.mood.weight', 'heads.mood.bias'}
    assert not before - after


def test_trunks_feed_only_their_own_tasks_and_may_be_given_alone() -> None:
    config = NetworkConfig(
        trunks={'clip': TrunkConfig(width=2), 'slow': TrunkConfig(width=3, sharing='single_task')},
        tasks={
            'action': TaskConfig(labels=('a', 'b')),
            'mood': TaskConfig(labels=('good', 'bad'), trunk='slow'),
        },
    )
    network = MultiTaskNetwork(config).eval()
    fast, slow = clips(), clips(3)
    alone = network({'slow': slow})
    assert list(alone) == ['mood']
    together = network.forward_tasks({'mood': slow, 'action': fast})
    torch.testing.assert_close(together['mood'], alone['mood'])
    torch.testing.assert_close(together['action'], network({'clip': fast})['action'])


def test_tasks_without_labels_are_refused() -> None:
    config = NetworkConfig(
        trunks={'clip': TrunkConfig(width=2)}, tasks={'action': TaskConfig(), 'b': TaskConfig()}
    )
    with pytest.raises(ValueError, match=r"every task needs labels, got none for \['action', 'b'"):
        MultiTaskNetwork(config)


def test_an_unknown_trunk_is_refused(make_network: Make) -> None:
    with pytest.raises(ValueError, match=r"Unknown trunk 'clips'; trunks with tasks: \['clip'\]"):
        make_network()({'clips': clips()})


def test_an_unknown_task_is_refused(make_network: Make) -> None:
    with pytest.raises(ValueError, match=r"Unknown task 'mood'; known tasks: \['action', 'gestur"):
        make_network().forward_tasks({'mood': clips()})


@all_methods
def test_without_the_mean_only_what_moves_counts(sharing: str, make_network: Make) -> None:
    plain = make_network(sharing)
    trunk = replace(plain.config.trunks['clip'], subtract_mean=True)
    network = MultiTaskNetwork(replace(plain.config, trunks={'clip': trunk})).eval()
    network.load_state_dict(plain.state_dict())
    batch, background = clips(), torch.randn(2, 3, 1, 16, 16)
    expected = plain({'clip': batch - batch.mean(2, keepdim=True)})
    for logits in (
        network({'clip': batch}),
        network({'clip': batch + background}),
        network.forward_tasks({'action': batch, 'gesture': batch + background}),
        network.deploy()({'clip': batch + background}),
    ):
        for task, values in logits.items():
            torch.testing.assert_close(values, expected[task], atol=1e-4, rtol=1e-4)
