"""Learned variances: uncertainty (Kendall) and automatic (Liebel & Koerner)."""

import math

from mtl_training.weighting import build_weighting
import pytest
import torch
from torchjd.scalarization import UW

VALUES = {'x': 0.5, 'y': 2.0, 'z': 8.0}
LOSSES = torch.tensor(list(VALUES.values()))


def test_uncertainty_is_that_of_torchjd(toy) -> None:
    ours, theirs = build_weighting('uncertainty', VALUES, normalise=False), UW(3)
    start = torch.tensor([0.3, -1.0, 2.0])
    toy.set_logarithms(ours.log_variances, start)
    theirs.log_var.data.copy_(start)
    losses = LOSSES.clone().requires_grad_()
    theirs(losses).backward()
    torch.testing.assert_close(toy.factors(ours, VALUES), losses.grad)
    torch.testing.assert_close(toy.gradients_of(ours), theirs.log_var.grad)


def test_automatic_has_the_gradients_of_its_formula(toy) -> None:
    weighting = build_weighting('automatic', VALUES, normalise=False)
    start = torch.tensor([0.3, -1.0, 2.0])
    toy.set_logarithms(weighting.log_variances, start)
    found = toy.factors(weighting, VALUES)
    losses, logs = LOSSES.clone().requires_grad_(), start.clone().requires_grad_()
    variances = logs.exp()
    (losses / (2 * variances) + torch.log(1 + variances)).sum().backward()
    torch.testing.assert_close(found, losses.grad)
    torch.testing.assert_close(toy.gradients_of(weighting), logs.grad)


@pytest.mark.parametrize('normalise', [True, False])
@pytest.mark.parametrize(
    'name, settings, expected',
    [
        ('uncertainty', {}, [0.5, 2.0, 8.0]),
        # L / sigma^2 + log sigma has its minimum at 2 L.
        ('uncertainty', {'cls_factor': True}, [1.0, 4.0, 16.0]),
        ('automatic', {}, [(x + math.sqrt(x * x + 8 * x)) / 4 for x in (0.5, 2.0, 8.0)]),
    ],
)
def test_variances_settle_where_the_formula_has_its_minimum(
    toy, name, settings, expected, normalise
) -> None:
    weighting = build_weighting(name, VALUES, normalise=normalise, **settings)
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(800):
        optimiser.zero_grad()
        toy.factors(weighting, VALUES, kind='classification')
        optimiser.step()
    found = toy.logarithms_of(weighting).exp()
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=0)


def test_automatic_settles_at_the_known_numbers(toy) -> None:
    weighting = build_weighting('automatic', VALUES)
    toy.settle(weighting, VALUES, 800)
    expected = torch.tensor([0.6404, 1.6180, 4.8284])
    torch.testing.assert_close(toy.logarithms_of(weighting).exp(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['uncertainty', 'automatic', 'imtl_l'])
def test_normalising_leaves_the_gradients_of_the_parameters_alone(toy, name) -> None:
    gradients = []
    for normalise in (True, False):
        weighting = build_weighting(name, VALUES, normalise=normalise)
        toy.factors(weighting, VALUES)
        gradients.append(toy.gradients_of(weighting))
    assert torch.equal(*gradients)


def test_only_classification_has_the_factor(toy) -> None:
    weighting = build_weighting('uncertainty', VALUES, cls_factor=True, normalise=False)
    assert toy.factors(weighting, VALUES, kind='regression').tolist() == [0.5, 0.5, 0.5]
    assert toy.factors(weighting, VALUES, kind='classification').tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize('normalise', [True, False])
@pytest.mark.parametrize('name', ['uncertainty', 'automatic', 'imtl_l'])
def test_a_loss_that_stays_zero_ends_at_a_bound_and_comes_back(toy, name, normalise) -> None:
    weighting = build_weighting(name, ('x', 'y'), normalise=normalise)
    optimiser = torch.optim.Adam(weighting.parameters(), lr=1.0)

    def steps(values, count):
        for _ in range(count):
            optimiser.zero_grad()
            assert torch.isfinite(toy.factors(weighting, values)).all()
            optimiser.step()

    steps({'x': 0.0, 'y': 1.0}, 200)
    assert all(weight == 1 for weight in weighting.weights().values()) == normalise
    steps({'x': 1.0, 'y': 1.0}, 1)
    high = weighting.weights()['x']
    steps({'x': 1.0, 'y': 1.0}, 200)
    assert weighting.weights()['x'] < high / 1.5


@pytest.mark.parametrize('name', ['uncertainty', 'automatic', 'imtl_l'])
def test_what_is_learned_of_an_absent_task_stays_bitwise_the_same(toy, name) -> None:
    weighting = build_weighting(name, ('x', 'y'))
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.1)
    kept = []
    for values in 20 * [{'x': 5.0, 'y': 5.0}] + 20 * [{'x': 5.0}]:
        optimiser.zero_grad()
        toy.factors(weighting, values)
        optimiser.step()
        kept.append(toy.logarithms_of(weighting))
    absent, present = torch.stack(kept[19:]).T.flip(0)
    assert absent[0] != 0
    assert (absent == absent[0]).all()
    assert (present.diff() != 0).all()
    assert len(weighting.state_dict()) == 3  # one per task, and the weights


@pytest.mark.parametrize('name', ['uncertainty', 'automatic', 'imtl_l'])
def test_any_name_that_a_network_takes_can_be_learned_for(toy, name) -> None:
    names = ('get', 'of', 'copy')
    weighting = build_weighting(name, names)
    assert toy.factors(weighting, dict.fromkeys(names, 1.0)).tolist() == pytest.approx([1, 1, 1])
