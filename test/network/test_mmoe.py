"""Tests of :mod:`mtl_perception.network.sharing.mmoe` and of gates in general."""

from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import build_sharing, MMoE
from mtl_perception.network.sharing.experts import Gate, mix
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture')


def build(**settings: Any) -> MMoE:
    return MMoE(lambda: ResNet3d(width=2, norm='group'), TASKS, **settings)


def run(stages: nn.ModuleDict, x: Tensor) -> Tensor:
    for stage in stages.values():
        x = stage(x)
    return x


def by_hand(sharing: MMoE, clips: Tensor, task: str) -> Tensor:
    """Return the formula's features, one clip and one expert at a time."""
    features = []
    for clip in clips.split(1):
        x = run(sharing.shared, clip)
        summary = x.mean((2, 3, 4))[0]
        if not len(sharing.shared):
            summary = torch.cat(
                [clip[0].mean((1, 2, 3)), clip[0].var((1, 2, 3), correction=0).sqrt()]
            )
        gate = sharing.gates[task]
        scores = [(row * summary).sum() + b for row, b in zip(gate.weight, gate.bias)]
        scale = sum(score.exp() for score in scores)
        outputs = [run(expert, x).mean((2, 3, 4))[0] for expert in sharing.shared_experts]
        features.append(sum(s.exp() / scale * y for s, y in zip(scores, outputs)))
    return torch.stack(features)


@pytest.mark.parametrize('settings', [{}, {'num_experts': 2, 'private_stages': None}], ids=str)
def test_features_and_gradients_are_those_of_the_formula(settings: dict[str, Any]) -> None:
    sharing, clips = build(**settings), torch.randn(3, 3, 4, 16, 16)
    for task in TASKS:
        expected, features = by_hand(sharing, clips, task), sharing.forward_task(clips, task)
        torch.testing.assert_close(features, expected)
        parameters = [*sharing.copies()[0][1].parameters(), *sharing.gates[task].parameters()]
        parameters += list(sharing.shared_experts.parameters())
        actual = torch.autograd.grad(features.square().sum(), parameters)
        wanted = torch.autograd.grad(expected.square().sum(), parameters)
        for one, other in zip(actual, wanted):
            torch.testing.assert_close(one, other)


def test_one_expert_is_hard_sharing() -> None:
    sharing, clips = build(num_experts=1).eval(), torch.randn(2, 3, 4, 16, 16)
    hard = build_sharing('hard', lambda: ResNet3d(width=2, norm='group'), TASKS).eval()
    for path, stage in hard.copies():
        stage.load_state_dict(dict(sharing.copies())[path].state_dict())
    torch.testing.assert_close(sharing(clips), hard(clips))


def test_the_weights_of_a_gate_are_shares() -> None:
    weights = Gate(4, 3)(10 * torch.randn(5, 4))
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(5))


def test_equal_pretrained_experts_grow_apart() -> None:
    sharing = build(num_experts=2)
    first, second = sharing.shared_experts
    second.load_state_dict(first.state_dict())
    sharing.forward_task(torch.randn(2, 3, 4, 16, 16), 'action').square().sum().backward()
    gradients = [torch.cat([p.grad.flatten() for p in e.parameters()]) for e in (first, second)]
    assert not torch.allclose(*gradients)


def test_gates_of_whole_trunks_see_clips_without_their_mean_over_time() -> None:
    sharing = build(private_stages=None)
    clips = torch.randn(2, 3, 4, 16, 16)
    clips = clips - clips.mean(2, keepdim=True)
    sharing.forward_task(clips, 'action').square().sum().backward()
    assert sharing.gates['action'].weight.grad.abs().max() > 1e-6


def test_mixing_keeps_the_precision_of_the_candidates() -> None:
    candidates = [torch.ones(1, 2, 1, 1, 1, dtype=torch.bfloat16) * i for i in (1, 3)]
    mixed = mix(torch.tensor([[0.25, 0.75]]), candidates)
    assert mixed.dtype == torch.bfloat16
    assert mixed.flatten().tolist() == [2.5, 2.5]


def test_weight_decay_spares_the_gates() -> None:
    sharing = build()
    spared = {id(p) for p, _ in sharing.rate_multipliers()}
    assert spared == {id(p) for p in sharing.gates.parameters()}


@pytest.mark.parametrize('number', [0, 1.5, True, '2'])
def test_the_number_of_experts_must_be_positive(number: Any) -> None:
    with pytest.raises(ValueError, match='num_experts must be an integer of at least 1, got'):
        build(num_experts=number)
