"""Tests of :mod:`mtl_perception.network.sharing.ple`."""

from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import CGC, PLE
from mtl_perception.network.sharing.experts import Gate
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture', 'third')
STAGES = ('layer1', 'layer2', 'layer3', 'layer4')


def make_trunk() -> ResNet3d:
    return ResNet3d(width=2, norm='group')


def build(**settings: Any) -> PLE:
    return PLE(make_trunk, TASKS, **settings)


def run(stages: nn.ModuleDict, x: Tensor) -> Tensor:
    for stage in stages.values():
        x = stage(x)
    return x


def mixed(gate: Gate, x: Tensor, values: list[Tensor]) -> Tensor:
    scores = (gate.weight @ x.mean((2, 3, 4))[0] + gate.bias).exp()
    return sum(score / scores.sum() * value for score, value in zip(scores, values, strict=True))


def by_hand(sharing: PLE, clips: Tensor, task: str) -> Tensor:
    """Return the formula's features, one clip at a time, every path at every level."""
    features = []
    for clip in clips.split(1):
        shared = run(sharing.shared, clip)
        own = dict.fromkeys(TASKS, shared)
        for level in sharing.levels:
            common = [run(expert, shared) for expert in level.shared_experts]
            private = {t: [run(e, own[t]) for e in level.task_experts[t]] for t in TASKS}
            own = {t: mixed(level.task_gates[t], own[t], private[t] + common) for t in TASKS}
            if level.shared_gate is not None:
                everything = [value for values in private.values() for value in values]
                shared = mixed(level.shared_gate, shared, everything + common)
        features.append(own[task].mean((2, 3, 4))[0])
    return torch.stack(features)


@pytest.mark.parametrize('depth', [1, 2, 3, 4])
def test_features_and_gradients_are_those_of_the_formula(depth: int) -> None:
    sharing = build(private_stages=STAGES[-depth:], num_shared_experts=2)
    clips = {task: torch.randn(i, 3, 4, 16, 16) for i, task in enumerate(TASKS, 1)}
    features = sharing.forward_tasks(clips)
    expected = {task: by_hand(sharing, batch, task) for task, batch in clips.items()}
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    actual = torch.autograd.grad(sum(v.square().sum() for v in features.values()), parameters)
    wanted = torch.autograd.grad(sum(v.square().sum() for v in expected.values()), parameters)
    for one, other in zip(actual, wanted):
        torch.testing.assert_close(one, other)


def test_one_level_is_cgc() -> None:
    sharing = build(private_stages=['layer4'], num_task_experts=2).eval()
    cgc = CGC(make_trunk, TASKS, num_task_experts=2, private_stages=['layer4']).eval()
    cgc.shared.load_state_dict(sharing.shared.state_dict())
    level = sharing.levels[0]
    cgc.shared_experts.load_state_dict(level.shared_experts.state_dict())
    cgc.task_experts.load_state_dict(level.task_experts.state_dict())
    cgc.gates.load_state_dict(level.task_gates.state_dict())
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(sharing(clips), cgc(clips))


def test_the_last_level_runs_the_experts_of_the_tasks_given_only() -> None:
    sharing, sizes = build(), []
    for task in TASKS:
        expert = sharing.levels[-1].task_experts[task][0]
        expert.register_forward_hook(lambda _m, args, _out: sizes.append(len(args[0])))
    sharing.forward_tasks(
        {'gesture': torch.randn(2, 3, 4, 16, 16), 'action': torch.randn(1, 3, 4, 16, 16)}
    )
    assert sizes == [2, 1]


@pytest.mark.parametrize('name', ['num_shared_experts', 'num_task_experts'])
def test_every_path_needs_experts(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} must be an integer of at least 1, got 0'):
        build(**{name: 0})
