"""Tests of :mod:`mtl_perception.network.sharing.mtan`."""

from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import MTAN
import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture')


def build(norm: str = 'group', **settings: Any) -> MTAN:
    return MTAN(lambda: ResNet3d(width=2, norm=norm), TASKS, **settings)


def by_hand(sharing: MTAN, clips: Tensor, task: str, stages: tuple[str, ...]) -> Tensor:
    """Return the features of one task, stage by stage, from the convolutions' weights."""
    x, attended = clips, None
    for name, stage in sharing.trunk.stages():
        blocks = [stage] if name == 'stem' else list(stage)
        u = blocks[0](x)
        x = u
        for block in blocks[1:]:
            x = block(x)
        if name not in stages:
            continue
        attention = sharing.attention[name]
        g, g_norm, _, h, h_norm, _ = attention.masks[task]
        inputs = u
        if attended is not None:
            f, f_norm, _ = attention.passage
            stride = tuple(-(-a // b) for a, b in zip(attended.shape[2:], u.shape[2:]))
            passed = F.conv3d(attended, f.weight, stride=stride, padding=1)
            inputs = torch.cat([u, F.relu(f_norm(passed))], 1)
        hidden = F.relu(g_norm(torch.einsum('oi...,bithw->bothw', g.weight[..., 0, 0, 0], inputs)))
        mask = h_norm(torch.einsum('oi,bithw->bothw', h.weight[..., 0, 0, 0], hidden))
        attended = x / (1 + (-mask).exp())
    return attended.mean((2, 3, 4))


@pytest.mark.parametrize(
    'stages', [('layer4',), ('layer3', 'layer4'), ('stem', 'layer1', 'layer2', 'layer3', 'layer4')]
)
def test_features_and_gradients_are_those_of_the_formula(stages: tuple[str, ...]) -> None:
    sharing = build(private_stages=stages)
    clips = {task: torch.randn(i, 3, 5, 18, 20) for i, task in enumerate(TASKS, 1)}
    features = sharing.forward_tasks(clips)
    expected = {task: by_hand(sharing, batch, task, stages) for task, batch in clips.items()}
    torch.testing.assert_close(features, expected)
    parameters = list(sharing.parameters())
    actual = torch.autograd.grad(sum(v.square().sum() for v in features.values()), parameters)
    wanted = torch.autograd.grad(sum(v.square().sum() for v in expected.values()), parameters)
    for one, other in zip(actual, wanted):
        torch.testing.assert_close(one, other)


def test_closed_masks_leave_nothing_and_open_ones_everything() -> None:
    sharing = build(private_stages=['layer4']).eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    for task, bias in (('action', -1e3), ('gesture', 1e3)):
        norm = sharing.attention['layer4'].masks[task][4]
        nn.init.zeros_(norm.weight)
        nn.init.constant_(norm.bias, bias)
    features = sharing(clips)
    assert features['action'].abs().max() == 0
    torch.testing.assert_close(features['gesture'], sharing.trunk(clips))


@pytest.mark.parametrize('norm, kind', [('batch', nn.BatchNorm3d), ('group', nn.GroupNorm)])
def test_the_norms_are_of_the_kind_of_the_trunk(norm: str, kind: type[nn.Module]) -> None:
    modules = list(build(norm).attention.modules())
    kinds = {type(m) for m in modules if isinstance(m, (nn.BatchNorm3d, nn.GroupNorm))}
    assert kinds == {kind}


def test_the_trunk_is_that_of_hard_sharing_and_runs_once() -> None:
    sharing, passes = build().eval(), []
    sharing.trunk.layer4[1].register_forward_hook(
        lambda _m, args, _out: passes.append(len(args[0]))
    )
    sharing(torch.randn(2, 3, 4, 16, 16))
    sharing.forward_tasks({task: torch.randn(2, 3, 4, 16, 16) for task in TASKS})
    assert passes == [2, 4]
    assert [path for path, _ in sharing.copies()] == [path for path, _ in sharing.trunk.stages()]


def test_a_task_does_not_read_the_attention_of_another() -> None:
    sharing, clips = build().eval(), torch.randn(2, 3, 4, 16, 16)
    before = sharing(clips)
    for parameter in sharing.attention['layer3'].masks['gesture'].parameters():
        nn.init.normal_(parameter)
    after = sharing(clips)
    torch.testing.assert_close(after['action'], before['action'])
    assert not torch.allclose(after['gesture'], before['gesture'])
