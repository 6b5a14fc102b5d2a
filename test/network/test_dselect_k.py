"""Tests of :mod:`mtl_perception.network.sharing.dselect_k`."""

from itertools import product
import math
from typing import Any

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import DSelectK
from mtl_perception.network.sharing.dselect_k import (
    DSelectGate,
    entropy,
    select_expert,
    smooth_step,
)
import pytest
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('float64')

TASKS = ('action', 'gesture')


def build(**settings: Any) -> DSelectK:
    return DSelectK(lambda: ResNet3d(width=2, norm='group'), TASKS, **settings)


def clips(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 16, 16)


def spread(sharing: DSelectK, size: float = 0.3) -> DSelectK:
    """Give the codes values that differ from clip to clip and are not yet binary."""
    for gate in sharing.gates.values():
        nn.init.uniform_(gate.codes.weight, -size, size)
        nn.init.uniform_(gate.codes.bias, -size, size)
    return sharing


def choice_by_hand(bits: list[Tensor], num_experts: int) -> list[Tensor]:
    """Return the weights of the experts, one code after the other."""
    weights = [torch.zeros(()) for _ in range(num_experts)]
    for code in product((0, 1), repeat=len(bits)):
        weight = torch.ones(())
        for bit, value in zip(bits, code):
            weight = weight * (bit if value else 1 - bit)
        index = sum(value << i for i, value in enumerate(code))
        if index >= num_experts:
            index -= 1 << (len(bits) - 1)  # the highest bit means nothing for this expert
        weights[index] = weights[index] + weight
    return weights


def step_by_hand(z: Tensor, gamma: float) -> Tensor:
    if z <= -gamma / 2:
        return torch.zeros(())
    if z >= gamma / 2:
        return torch.ones(())
    return -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 0.5


def choices_by_hand(gate: DSelectGate, x: Tensor, num_experts: int) -> list[list[Tensor]]:
    z = (gate.codes.weight @ x + gate.codes.bias).view(gate.num_selected, -1)
    return [choice_by_hand([step_by_hand(b, gate.gamma) for b in row], num_experts) for row in z]


def run(stages: nn.ModuleDict, x: Tensor) -> Tensor:
    for stage in stages.values():
        x = stage(x)
    return x


@pytest.mark.parametrize('num_experts', [2, 3, 4, 5])
def test_features_gradients_and_entropy_are_those_of_the_formula(num_experts: int) -> None:
    sharing = spread(build(num_experts=num_experts, gamma=0.8, entropy_weight=0.1)).train()
    batch, gate = clips(3), sharing.gates['gesture']
    expected, entropies = [], []
    for clip in batch.split(1):
        x = run(sharing.shared, clip)
        summary = x.mean((2, 3, 4))[0]
        scores = (gate.mixture.weight @ summary + gate.mixture.bias).exp()
        choices = choices_by_hand(gate, summary.detach(), num_experts)
        logs = [w * w.log() for choice in choices for w in choice if w > 0]
        entropies.append(-sum(logs))
        outputs = [run(expert, x).mean((2, 3, 4))[0] for expert in sharing.shared_experts]
        choices = choices_by_hand(gate, summary, num_experts)
        expected.append(
            sum(
                score / scores.sum() * weight * output
                for score, choice in zip(scores, choices)
                for weight, output in zip(choice, outputs)
            )
        )
    features = sharing.forward_task(batch, 'gesture')
    regularisation = sharing.regularisation()
    wanted = 0.1 * sum(entropies) / 3
    torch.testing.assert_close(features, torch.stack(expected))
    torch.testing.assert_close(regularisation, wanted)
    parameters = [*sharing.copies()[0][1].parameters(), *gate.parameters()]
    parameters += list(sharing.shared_experts.parameters())
    actual = torch.autograd.grad(features.square().sum() + regularisation, parameters)
    total = torch.stack(expected).square().sum() + wanted
    for one, other in zip(actual, torch.autograd.grad(total, parameters)):
        torch.testing.assert_close(one, other)


def test_the_smooth_step_is_a_step_with_a_continuous_slope() -> None:
    z = torch.tensor([-3.0, -1, -0.4, 0, 0.7, 1, 3], requires_grad=True)
    steps = smooth_step(z, 2.0)
    torch.testing.assert_close(steps, torch.stack([step_by_hand(x, 2.0) for x in z.detach()]))
    (slopes,) = torch.autograd.grad(steps.sum(), z)
    assert slopes[[0, 1, 5, 6]].abs().max() == 0
    assert slopes[2:5].min() > 0
    assert float(slopes[3]) == pytest.approx(0.75)


@pytest.mark.parametrize('num_experts', range(2, 10))
def test_binary_codes_select_each_expert_and_soft_ones_share_out_everything(
    num_experts: int,
) -> None:
    num_bits = math.ceil(math.log2(num_experts))
    codes = torch.tensor(list(product((0.0, 1.0), repeat=num_bits)))
    weights = select_expert(codes, num_experts)
    assert weights.shape == (2**num_bits, num_experts)
    assert set(weights.flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(weights.sum(1), torch.ones(2**num_bits))
    assert weights.sum(0).min() >= 1, 'an expert without a code'
    soft = select_expert(torch.rand(5, num_bits), num_experts)
    torch.testing.assert_close(soft.sum(1), torch.ones(5))


@pytest.mark.parametrize('num_experts, num_selected', [(4, 1), (5, 2), (8, 3)])
def test_a_converged_gate_selects_at_most_k_experts(num_experts: int, num_selected: int) -> None:
    gate = DSelectGate(3, num_experts, num_selected, 1.0)
    nn.init.normal_(gate.codes.weight, std=1e4)
    weights = gate(torch.randn(50, 3))
    assert int((weights > 0).sum(1).max()) <= num_selected
    torch.testing.assert_close(weights.sum(1), torch.ones(50))
    assert len({tuple((row > 0).tolist()) for row in weights}) > 1, 'every clip has its own'


def test_minimising_the_entropy_makes_a_gate_binary() -> None:
    gate = DSelectGate(3, 6, 2, 1.0)
    nn.init.uniform_(gate.codes.bias, -0.2, 0.2)
    x, optimiser = torch.rand(20, 3), torch.optim.SGD(gate.parameters(), 0.3)
    for _ in range(200):
        optimiser.zero_grad()
        entropy(gate.choices(x)).sum(1).mean().backward()
        optimiser.step()
    assert int((gate(x) > 1e-3).sum(1).max()) <= 2
    assert all(p.isfinite().all() for p in gate.parameters())


def test_the_entropy_of_certain_choices_is_zero_with_a_finite_gradient() -> None:
    weights = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    values = entropy(weights)
    torch.testing.assert_close(values, torch.tensor([0.0, math.log(2)]))
    (gradient,) = torch.autograd.grad(values.sum(), weights)
    assert gradient.isfinite().all()


def test_every_code_has_a_gradient_at_the_start() -> None:
    sharing = build()
    sharing.forward_task(clips(), 'action').square().sum().backward()
    assert sharing.gates['action'].codes.weight.grad.abs().sum(1).min() > 0


@pytest.mark.parametrize('merge', [True, False])
def test_the_entropy_is_summed_over_tasks_and_returned_once(merge: bool) -> None:
    sharing = spread(build(entropy_weight=2)).train()
    batches = {'action': clips(3), 'gesture': clips(1)}
    alone = []
    for task, batch in batches.items():
        sharing.forward_tasks({task: batch})
        alone.append(sharing.regularisation())
    sharing.forward_tasks(batches, merge=merge)
    torch.testing.assert_close(sharing.regularisation(), alone[0] + alone[1])
    assert sharing.regularisation() is None


def test_the_entropy_has_a_graph_of_its_own_that_reaches_the_gates_alone() -> None:
    sharing = spread(build()).train()
    features = sharing.forward_tasks({'action': clips(), 'gesture': clips()}, merge=False)
    for value in features.values():
        value.sum().backward()  # frees the graphs of the features
    sharing.zero_grad()
    sharing.regularisation().backward()
    reached = {id(p) for p in sharing.parameters() if p.grad is not None and p.grad.any()}
    assert reached
    assert reached <= {id(p) for gate in sharing.gates.values() for p in gate.codes.parameters()}


def test_a_forward_pass_forgets_the_one_before() -> None:
    sharing = spread(build()).train()
    first, second = clips(), clips()
    sharing.forward_tasks({'action': first, 'gesture': first})
    sharing.forward_tasks({'action': second})
    both = sharing.regularisation()
    sharing.forward_tasks({'action': second})
    torch.testing.assert_close(both, sharing.regularisation())
    sharing.forward_tasks({'action': second})
    assert sharing.eval().train().regularisation() is None


def test_nothing_is_kept_without_a_weight_in_evaluation_or_without_gradients() -> None:
    sharing = build(entropy_weight=0).train()
    sharing(clips())
    assert sharing.regularisation() is None
    sharing = build().eval()
    sharing(clips())
    assert sharing.regularisation() is None
    with torch.no_grad():
        sharing.train()(clips())
    assert sharing.regularisation() is None


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'num_experts': 1}, 'num_experts must be an integer of at least 2, got 1'),
        ({'num_selected': 0}, 'num_selected must be an integer of at least 1, got 0'),
        ({'num_selected': 5}, 'num_selected must be at most num_experts 4, got 5'),
        ({'gamma': 0}, 'gamma must be positive and finite, got 0'),
        ({'gamma': float('nan')}, 'gamma must be positive and finite, got nan'),
        ({'entropy_weight': -1}, 'entropy_weight must be positive and finite, got -1'),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
