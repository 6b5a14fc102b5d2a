"""Tests that every sharing method passes, and those of each one."""

from collections.abc import Callable

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import build_sharing, SHARING, SharingMethod
import pytest
import torch
from torch import nn, Tensor

TASKS = ('action', 'gesture', 'third')
SIZES = {'action': 3, 'gesture': 1, 'third': 2}
all_methods = pytest.mark.parametrize('name', sorted(SHARING))


@pytest.fixture
def build(randomise: Callable[[nn.Module], nn.Module]) -> Callable[[str], SharingMethod]:
    def make(name: str) -> SharingMethod:
        sharing = build_sharing(name, lambda: ResNet3d(width=2), TASKS)
        randomise(sharing)
        return sharing.eval()

    return make


def clips(batch: int = 2, frames: int = 4) -> Tensor:
    return torch.randn(batch, 3, frames, 16, 16)


def count_passes(trunk: nn.Module) -> list[int]:
    """Return a list that grows by the batch size each time the trunk runs."""
    passes: list[int] = []
    trunk.register_forward_hook(lambda _m, args, _out: passes.append(len(args[0])))
    return passes


@all_methods
def test_all_ways_forward_agree(name: str, build: Callable[[str], SharingMethod]) -> None:
    sharing, batch = build(name), clips()
    together = sharing(batch)
    assert list(together) == list(TASKS)
    for task in TASKS:
        assert together[task].shape == (2, sharing.feature_dim)
        torch.testing.assert_close(sharing.forward_task(batch, task), together[task])


@all_methods
@pytest.mark.parametrize('merge', [True, False])
def test_each_task_gets_the_features_of_its_own_batch(
    name: str, merge: bool, build: Callable[[str], SharingMethod]
) -> None:
    sharing = build(name)
    batches = {task: clips(SIZES[task]) for task in reversed(TASKS)}
    batches['gesture'] = clips(1, frames=6)
    features = sharing.forward_tasks(batches, merge=merge)
    assert list(features) == list(batches)
    for task, batch in batches.items():
        torch.testing.assert_close(features[task], sharing.forward_task(batch, task))


@all_methods
def test_absent_tasks_stay_absent(name: str, build: Callable[[str], SharingMethod]) -> None:
    sharing = build(name)
    assert list(sharing.forward_tasks({'third': clips()})) == ['third']
    assert sharing.forward_tasks({}) == {}


@pytest.fixture
def build_grouped() -> Callable[[str], SharingMethod]:
    """Build a method in training mode whose norms treat each clip by itself."""

    def make(name: str) -> SharingMethod:
        torch.manual_seed(7)
        return build_sharing(name, lambda: ResNet3d(width=2, norm='group'), TASKS).double().train()

    return make


def in_training(
    sharing: SharingMethod, batches: dict[str, Tensor], merge: bool
) -> dict[str, Tensor]:
    """Return the features of a training pass whose random draws are always the same."""
    torch.manual_seed(1)
    return sharing.forward_tasks(batches, merge=merge)


@all_methods
def test_merging_changes_neither_features_nor_gradients_without_batch_norms(
    name: str, build_grouped: Callable[[str], SharingMethod]
) -> None:
    sharing = build_grouped(name)
    batches = {task: clips(SIZES[task]).double() for task in TASKS}
    results = []
    for merge in (True, False):
        features = in_training(sharing, batches, merge)
        sharing.zero_grad()
        torch.stack([x.square().sum() for x in features.values()]).sum().backward()
        gradients = {n: p.grad for n, p in sharing.named_parameters() if p.grad is not None}
        results.append((features, {n: gradient.clone() for n, gradient in gradients.items()}))
    (merged, gradients), (separate, expected) = results
    torch.testing.assert_close(merged, separate)
    torch.testing.assert_close(gradients, expected)


@all_methods
@pytest.mark.parametrize('merge', [True, False])
def test_other_tasks_do_not_change_the_features_of_a_task(
    name: str, merge: bool, build_grouped: Callable[[str], SharingMethod]
) -> None:
    sharing = build_grouped(name)
    batches = {task: clips(SIZES[task]).double() for task in TASKS}
    features = in_training(sharing, batches, merge)
    others = {task: x if task == 'gesture' else clips(2).double() for task, x in batches.items()}
    changed = in_training(sharing, others, merge)
    torch.testing.assert_close(changed['gesture'], features['gesture'])
    assert not torch.equal(changed['third'], features['third'])


@all_methods
def test_tasks_that_are_not_merged_have_graphs_of_their_own(
    name: str, build: Callable[[str], SharingMethod]
) -> None:
    features = (
        build(name).train().forward_tasks({task: clips(2, 16) for task in TASKS}, merge=False)
    )
    # Would fail if two graphs shared a node, for the first backward pass frees its buffers.
    for value in features.values():
        value.square().sum().backward()


@all_methods
def test_the_copies_cover_the_backbone_and_hold_none_of_its_weights_twice(
    name: str, build: Callable[[str], SharingMethod]
) -> None:
    sharing = build(name)
    paths = [path for path, _ in sharing.copies()]
    backbone = ResNet3d(width=2)
    for block, _ in backbone.blocks():
        assert block in paths or block.partition('.')[0] in paths
    parameters = [id(p) for _, module in sharing.copies() for p in module.parameters()]
    assert len(set(parameters)) == len(parameters)
    assert set(parameters) <= {id(p) for p in sharing.parameters()}


@all_methods
def test_a_deployed_method_is_an_equal_and_independent_copy(
    name: str, build: Callable[[str], SharingMethod]
) -> None:
    sharing, batch = build(name).train(), clips()
    deployed = sharing.deploy()
    assert sharing.training
    assert all(p.requires_grad for p in sharing.parameters())
    assert not deployed.training
    assert not any(p.requires_grad for p in deployed.parameters())
    assert not any(isinstance(m, nn.BatchNorm3d) for m in deployed.modules())
    expected = sharing.eval()(batch)
    torch.testing.assert_close(deployed(batch), expected)
    for parameter in sharing.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(deployed(batch), expected)


@all_methods
def test_every_tensor_is_in_the_state_dict(
    name: str, build: Callable[[str], SharingMethod]
) -> None:
    sharing = build(name)
    assert {n for n, _ in sharing.named_buffers()} <= sharing.state_dict().keys()


@all_methods
@pytest.mark.parametrize('merge', [True, False])
def test_an_unknown_task_is_refused(
    name: str, merge: bool, build: Callable[[str], SharingMethod]
) -> None:
    with pytest.raises(ValueError, match=r"Unknown task 'x'; known tasks: \['action'"):
        build(name).forward_tasks({'x': clips()}, merge=merge)


@all_methods
def test_tasks_must_be_distinct(name: str) -> None:
    with pytest.raises(ValueError, match='tasks must be distinct and at least one'):
        build_sharing(name, lambda: ResNet3d(width=2), ['a', 'a'])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown sharing method 'soft'; known methods: \['cgc'"):
        build_sharing('soft', lambda: ResNet3d(width=2), TASKS)


@all_methods
def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Sharing '{name}' has no setting \['speed'\]"):
        build_sharing(name, lambda: ResNet3d(width=2), TASKS, speed=3)


def test_hard_sharing_runs_its_trunk_once(build: Callable[[str], SharingMethod]) -> None:
    sharing = build('hard')
    passes = count_passes(sharing.trunk)
    sharing(clips(2))
    assert passes == [2]


def test_hard_sharing_merges_batches_of_one_shape(build: Callable[[str], SharingMethod]) -> None:
    sharing = build('hard')
    passes = count_passes(sharing.trunk)
    sharing.forward_tasks({'action': clips(2), 'gesture': clips(1, 6), 'third': clips(3)})
    assert sorted(passes) == [1, 5]


def test_hard_sharing_has_the_parameters_of_one_trunk(
    build: Callable[[str], SharingMethod],
) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(build('hard')) == count(ResNet3d(width=2))
    assert count(build('single_task')) == len(TASKS) * count(ResNet3d(width=2))


def test_single_task_trunks_are_independent(build: Callable[[str], SharingMethod]) -> None:
    sharing = build('single_task')
    batches = {task: clips() for task in TASKS}
    sharing.forward_tasks(batches)['gesture'].square().sum().backward()
    action, gesture, third = sharing.task_trunks.values()
    assert all(p.grad is None for p in [*action.parameters(), *third.parameters()])
    assert all(p.grad is not None for p in gesture.parameters())
    before = sharing.forward_task(batches['action'], 'action')
    for parameter in gesture.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(sharing.forward_task(batches['action'], 'action'), before)


def test_single_task_trunks_start_from_weights_of_their_own(
    build: Callable[[str], SharingMethod],
) -> None:
    first, second, _ = build('single_task').task_trunks.values()
    assert not torch.equal(first.stem[0].weight, second.stem[0].weight)
