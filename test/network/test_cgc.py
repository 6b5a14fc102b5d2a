"""Tests of :mod:`mtl_perception.network.sharing.cgc`."""

from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import CGC, MMoE
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture', 'third')


def make_trunk() -> ResNet3d:
    return ResNet3d(width=2, norm='group')


def build(**settings: Any) -> CGC:
    return CGC(make_trunk, TASKS, **settings)


def run(stages: nn.ModuleDict, x: Tensor) -> Tensor:
    for stage in stages.values():
        x = stage(x)
    return x


def by_hand(sharing: CGC, clips: Tensor, task: str) -> Tensor:
    """Return the formula's features, one clip and one expert at a time."""
    features = []
    for clip in clips.split(1):
        x = run(sharing.shared, clip)
        gate = sharing.gates[task]
        scores = (gate.weight @ x.mean((2, 3, 4))[0] + gate.bias).exp()
        total = torch.zeros(sharing.feature_dim)
        for i, expert in enumerate([*sharing.task_experts[task], *sharing.shared_experts]):
            total = total + scores[i] / scores.sum() * run(expert, x).mean((2, 3, 4))[0]
        features.append(total)
    return torch.stack(features)


@pytest.mark.parametrize('numbers', [(1, 1), (2, 1), (0, 2), (2, 0)], ids=str)
def test_features_and_gradients_are_those_of_the_formula(numbers: tuple[int, int]) -> None:
    sharing = build(num_shared_experts=numbers[0], num_task_experts=numbers[1])
    clips = {task: torch.randn(i, 3, 4, 16, 16) for i, task in enumerate(TASKS, 1)}
    features = sharing.forward_tasks(clips)
    expected = {task: by_hand(sharing, batch, task) for task, batch in clips.items()}
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    actual = torch.autograd.grad(sum(v.square().sum() for v in features.values()), parameters)
    wanted = torch.autograd.grad(sum(v.square().sum() for v in expected.values()), parameters)
    for one, other in zip(actual, wanted):
        torch.testing.assert_close(one, other)


def test_without_experts_of_the_tasks_it_is_mmoe() -> None:
    sharing = build(num_shared_experts=3, num_task_experts=0).eval()
    mmoe = MMoE(make_trunk, TASKS, num_experts=3).eval()
    mmoe.load_state_dict(sharing.state_dict())
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(sharing(clips), mmoe(clips))


def test_a_task_does_not_read_the_experts_of_another() -> None:
    sharing, clips = build().eval(), torch.randn(2, 3, 4, 16, 16)
    before = sharing(clips)
    for parameter in sharing.task_experts['gesture'].parameters():
        nn.init.normal_(parameter)
    after = sharing(clips)
    torch.testing.assert_close(after['action'], before['action'])
    assert not torch.allclose(after['gesture'], before['gesture'])


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'num_shared_experts': -1}, 'num_shared_experts must be an integer of at least 0'),
        ({'num_task_experts': 1.0}, 'num_task_experts must be an integer of at least 0, got 1.0'),
        (
            {'num_shared_experts': 0, 'num_task_experts': 0},
            r'num_shared_experts \+ num_task_experts must be an integer of at least 1, got 0',
        ),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
