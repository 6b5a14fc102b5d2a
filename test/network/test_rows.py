"""Tests of :mod:`mtl_perception.network.sharing.rows` and of all methods that build on it."""

from collections.abc import Callable
import copy
from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import build_sharing, SHARING, SharingMethod
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import split_names
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture', 'third')
OURS = ('cgc', 'dselect_k', 'learning_to_branch', 'mmoe', 'mtan', 'ple')
our_methods = pytest.mark.parametrize('name', OURS)
all_depths = pytest.mark.parametrize('stages', [('layer4',), None], ids=str)


def build(name: str, tasks: tuple[str, ...] = TASKS, **settings: Any) -> SharingMethod:
    """Return a method in training mode, where a clip has nothing to do with the others."""
    sharing = build_sharing(name, lambda: ResNet3d(width=2, norm='group'), tasks, **settings)
    return sharing.train()


def batches() -> dict[str, Tensor]:
    """Return batches of all tasks, two of them with clips of the same shape."""
    return {
        'third': torch.randn(2, 3, 4, 16, 16),
        'action': torch.randn(1, 3, 4, 16, 16),
        'gesture': torch.randn(2, 3, 6, 18, 20),
    }


def reached(sharing: SharingMethod, features: Tensor) -> set[int]:
    """Return the ids of the parameters that a loss of these features has a gradient for."""
    parameters = list(sharing.parameters())
    total = features.square().sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients) if gradient is not None}


def test_the_methods_are_those_that_run_rows() -> None:
    assert set(OURS) <= {
        name for name, method in SHARING.items() if issubclass(method, RowSharing)
    }


@our_methods
@all_depths
def test_merged_and_separate_batches_give_equal_features(name: str, stages: Any) -> None:
    sharing, clips = build(name, private_stages=stages), batches()
    torch.manual_seed(1)
    merged = sharing.forward_tasks(clips)
    torch.manual_seed(1)
    separate = sharing.forward_tasks(clips, merge=False)
    for task in TASKS:
        torch.testing.assert_close(merged[task], separate[task])


@our_methods
def test_separate_batches_have_graphs_of_their_own(name: str) -> None:
    sharing = build(name)
    features = sharing.forward_tasks(batches(), merge=False)
    # Would fail if the graphs shared a node, for the first backward pass frees its buffers.
    for value in features.values():
        value.square().sum().backward()


@our_methods
@all_depths
def test_shared_parameters_are_those_that_several_losses_reach(name: str, stages: Any) -> None:
    sharing = build(name, private_stages=stages)
    features = sharing.forward_tasks(batches(), merge=False)
    sets = [reached(sharing, value) for value in features.values()]
    several = {i for ids in sets for i in ids if sum(i in other for other in sets) > 1}
    assert {id(p) for p in sharing.shared_parameters()} == several
    used = [p for p in sharing.parameters() if any(id(p) in ids for ids in sets)]
    assert len(used) == len(list(sharing.parameters())), 'a parameter that no loss reaches'


@our_methods
@pytest.mark.parametrize('tasks', [('only',), ('a', 'b')])
def test_any_number_of_tasks_trains(name: str, tasks: tuple[str, ...]) -> None:
    sharing = build(name, tasks)
    features = sharing.forward_tasks({task: torch.randn(2, 3, 4, 16, 16) for task in tasks})
    sum(value.sum() for value in features.values()).backward()
    assert all(p.grad is not None for p in sharing.parameters())


@our_methods
def test_a_sample_is_not_influenced_by_the_batches_of_others(name: str) -> None:
    sharing, clips = build(name), batches()
    torch.manual_seed(1)
    before = sharing.forward_tasks(clips)
    clips['third'] = torch.randn_like(clips['third'])
    torch.manual_seed(1)
    after = sharing.forward_tasks(clips)
    torch.testing.assert_close(after['action'], before['action'])
    assert not torch.allclose(after['third'], before['third'])


@our_methods
def test_what_all_tasks_share_runs_once(name: str) -> None:
    sharing = build(name).eval()
    passes: list[int] = []
    stems = [module for path, module in sharing.copies() if path == 'stem']
    assert len(stems) == 1
    first = next(m for m in stems[0].modules() if isinstance(m, nn.Conv3d))
    first.register_forward_hook(lambda _m, args, _out: passes.append(len(args[0])))
    sharing(torch.randn(2, 3, 4, 16, 16))
    assert passes == [2]


@our_methods
@all_depths
def test_copies_cover_the_backbone_and_nothing_twice(name: str, stages: Any) -> None:
    sharing, trunk = build(name, private_stages=stages), ResNet3d(width=2, norm='group')
    expected = {path: module.state_dict().keys() for path, module in trunk.stages()}
    assert {path for path, _ in sharing.copies()} == set(expected)
    for path, module in sharing.copies():
        assert module.state_dict().keys() == expected[path]
    parameters = [id(p) for _, module in sharing.copies() for p in module.parameters()]
    assert len(parameters) == len(set(parameters))


@our_methods
def test_a_method_is_copied_after_a_training_step(name: str) -> None:
    sharing = build(name)
    sharing.forward_tasks(batches())
    duplicate = copy.deepcopy(sharing).eval()
    clip = torch.randn(1, 3, 4, 16, 16)
    assert duplicate.regularisation() is None
    torch.testing.assert_close(duplicate(clip), sharing.eval()(clip))


@our_methods
@all_depths
def test_a_deployed_copy_of_a_trained_method_is_equal(
    name: str, stages: Any, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    sharing = build_sharing(name, lambda: ResNet3d(width=2), TASKS, private_stages=stages)
    randomise(sharing)
    for parameter, _ in sharing.rate_multipliers():
        nn.init.normal_(parameter)
    clip = torch.randn(2, 3, 4, 16, 16)
    deployed = sharing.deploy()
    torch.testing.assert_close(deployed(clip), sharing.eval()(clip))
    state = sharing.state_dict()
    fresh = build_sharing(name, lambda: ResNet3d(width=2), TASKS, private_stages=stages)
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh.eval()(clip), sharing(clip))


@our_methods
@pytest.mark.parametrize('stages', [[], ['layer3'], ['layer4', 'layer3'], 'layer4', 3])
def test_private_stages_must_be_the_last_ones(name: str, stages: Any) -> None:
    with pytest.raises(ValueError, match=r"private_stages must be the last of the stages \['stem"):
        build(name, private_stages=stages)


def test_private_stages_split_the_trunk() -> None:
    trunk = ResNet3d(width=2)
    assert split_names(trunk, ['layer4']) == (('stem', 'layer1', 'layer2', 'layer3'), ('layer4',))
    assert split_names(trunk, None) == ((), ('stem', 'layer1', 'layer2', 'layer3', 'layer4'))
