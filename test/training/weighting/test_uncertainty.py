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
    ours.log_variances.data.copy_(start)
    theirs.log_var.data.copy_(start)
    losses = LOSSES.clone().requires_grad_()
    theirs(losses).backward()
    torch.testing.assert_close(toy.factors(ours, VALUES), losses.grad)
    torch.testing.assert_close(ours.log_variances.grad, theirs.log_var.grad)


def test_automatic_has_the_gradients_of_its_formula(toy) -> None:
    weighting = build_weighting('automatic', VALUES, normalise=False)
    start = torch.tensor([0.3, -1.0, 2.0])
    weighting.log_variances.data.copy_(start)
    found = toy.factors(weighting, VALUES)
    losses, logs = LOSSES.clone().requires_grad_(), start.clone().requires_grad_()
    variances = logs.exp()
    (losses / (2 * variances) + torch.log(1 + variances)).sum().backward()
    torch.testing.assert_close(found, losses.grad)
    torch.testing.assert_close(weighting.log_variances.grad, logs.grad)


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
    found = weighting.log_variances.exp()
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=0)


def test_automatic_settles_at_the_known_numbers(toy) -> None:
    weighting = build_weighting('automatic', VALUES)
    toy.settle(weighting, VALUES, 800)
    expected = torch.tensor([0.6404, 1.6180, 4.8284])
    torch.testing.assert_close(weighting.log_variances.exp(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['uncertainty', 'automatic', 'imtl_l'])
def test_normalising_leaves_the_gradients_of_the_parameters_alone(toy, name) -> None:
    gradients = []
    for normalise in (True, False):
        weighting = build_weighting(name, VALUES, normalise=normalise)
        toy.factors(weighting, VALUES)
        gradients += [parameter.grad for parameter in weighting.parameters()]
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
    high = weighting.weights()['x']
    steps({'x': 1.0, 'y': 1.0}, 200)
    assert weighting.weights()['x'] < high / 1.5
