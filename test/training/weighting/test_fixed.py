"""Weights that the user gives."""

from mtl_training.weighting import build_weighting
import pytest
import torch

TASKS = ('x', 'y')


def test_equal_weights_are_exactly_the_average(toy) -> None:
    problem, found = toy.Problem(TASKS), []
    for weighting in (
        build_weighting('fixed', TASKS, weights={'x': 1.0, 'y': 1}),
        build_weighting('average', TASKS),
    ):
        toy.backward(problem, weighting)
        found.append(toy.gradient(problem))
    assert torch.equal(*found)


def test_the_weights_are_used_as_given(toy) -> None:
    weighting = build_weighting('fixed', TASKS, weights={'y': 0, 'x': 0.3})
    assert toy.factors(weighting, {'x': 2.0, 'y': 5.0}).tolist() == pytest.approx([0.3, 0])
    assert weighting.weights() == {'x': 0.3, 'y': 0.0}


@pytest.mark.parametrize(
    'weights, message',
    [
        ({'x': 1.0}, r"missing \['y'\], unknown \[\]"),
        ({'x': 1.0, 'y': 1.0, 'z': 1.0}, r"missing \[\], unknown \['z'\]"),
        ({'x': 1.0, 'y': -1.0}, r"that of 'y' must be a number of at least 0, got -1.0"),
        ({'x': 1.0, 'y': float('nan')}, r"that of 'y' must be .* got nan"),
        ({'x': True, 'y': 1.0}, r"that of 'x' must be .* got True"),
        ({'x': 0.0, 'y': 0.0}, r'at least one must not be 0'),
    ],
)
def test_weights_that_are_none_are_refused(weights, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('fixed', TASKS, weights=weights)
