"""The geometric mean of the losses."""

from mtl_training.weighting import build_weighting
import pytest
import torch
from torchjd.scalarization import GeometricMean

TASKS = ('x', 'y', 'z')


def test_the_factors_are_those_of_torchjd(toy) -> None:
    losses = torch.tensor([0.3, 2.0, 7.0], requires_grad=True)
    GeometricMean()(losses).backward()
    weighting = build_weighting('gls', TASKS, normalise=False)
    torch.testing.assert_close(
        toy.factors(weighting, dict(zip(TASKS, losses.tolist()))), losses.grad
    )


def test_the_weights_are_the_derivatives(toy) -> None:
    weighting = build_weighting('gls', ('x', 'y'), normalise=False)
    toy.factors(weighting, {'x': 4.0, 'y': 1.0})
    assert weighting.weights() == pytest.approx({'x': 0.25, 'y': 1.0})


def test_normalised_weights_are_in_proportion_to_the_inverse_losses(toy) -> None:
    weighting = build_weighting('gls', ('x', 'y'))
    found = toy.factors(weighting, {'x': 4.0, 'y': 1.0})
    assert found.tolist() == pytest.approx([0.4, 1.6])


@pytest.mark.parametrize('normalise', [True, False])
@pytest.mark.parametrize('small', [0.0, 1e-30])
def test_losses_of_nothing_have_finite_factors(toy, small, normalise) -> None:
    weighting = build_weighting('gls', TASKS, normalise=normalise)
    found = toy.factors(weighting, {'x': small, 'y': 1e4, 'z': small})
    assert torch.isfinite(found).all()
    assert (found > 0).all()
