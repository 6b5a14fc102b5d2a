"""Dynamic weight average."""

from mtl_training.weighting import build_weighting
import pytest
import torch
from torchjd.scalarization import DWA

TASKS = ('x', 'y', 'z')


def test_it_is_that_of_torchjd(toy) -> None:
    ours, theirs = build_weighting('dwa', TASKS, interval=4), DWA(2.0)
    generator = torch.Generator().manual_seed(0)
    for iteration in range(20):
        losses = torch.rand(3, generator=generator).add(0.1).requires_grad_()
        theirs(losses).backward()
        found = toy.factors(ours, dict(zip(TASKS, losses.tolist())))
        torch.testing.assert_close(found, losses.grad)
        assert float(found.sum()) == pytest.approx(3)
        assert (iteration < 8) == bool((found == 1).all())
        if iteration % 4 == 3:
            theirs.step()


@pytest.mark.parametrize('scale', [1.0, 1000.0])
def test_the_slower_task_has_the_known_weight_at_any_scale(toy, scale) -> None:
    weighting = build_weighting('dwa', ('x', 'y'), interval=1, temperature=2.0)
    toy.factors(weighting, {'x': 2.0, 'y': 2.0 * scale})
    toy.factors(weighting, {'x': 1.0, 'y': 1.8 * scale})
    found = toy.factors(weighting, {'x': 1.0, 'y': scale})
    assert found.tolist() == pytest.approx([0.90033, 1.09967], abs=1e-5)
    assert weighting.weights() == pytest.approx({'x': 0.90033, 'y': 1.09967}, abs=1e-5)


def test_absent_tasks_average_over_the_iterations_they_are_in(toy) -> None:
    weighting = build_weighting('dwa', TASKS, interval=3)
    history = [
        {'x': 4.0, 'y': 1.0},
        {'x': 2.0},
        {'x': 3.0, 'z': 1.0},
        {'y': 0.5, 'x': 1.0},
        {'x': 2.0},
        {'y': 0.7},
    ]
    for values in history:
        assert (toy.factors(weighting, values) == 1).all()
    # z was in one interval only: its rate counts as 1.
    rates = torch.tensor([1.5 / 3, 0.6 / 1, 1.0])
    found = toy.factors(weighting, dict.fromkeys(TASKS, 1.0))
    torch.testing.assert_close(found, 3 * (rates / 2).softmax(0))
    for _ in range(2):
        toy.factors(weighting, {'x': 1.0})
    # An interval without y leaves its rate as it was.
    for _ in range(3):
        toy.factors(weighting, {'x': 3.0, 'z': 2.0})
    rates = torch.tensor([3.0 / 1, 1 / 0.6, 2.0 / 1])
    found = toy.factors(weighting, dict.fromkeys(TASKS, 1.0))
    torch.testing.assert_close(found, 3 * (rates / 2).softmax(0))
    # The weights of two tasks sum to 2.
    found = toy.factors(weighting, {'y': 1.0, 'x': 1.0})
    torch.testing.assert_close(found, 2 * (rates[[1, 0]] / 2).softmax(0))


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'interval': 0}, 'interval must be at least 1, got 0'),
        ({'temperature': 0.0}, 'temperature must be positive and finite, got 0.0'),
        ({'temperature': float('nan')}, 'temperature must be positive and finite, got nan'),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('dwa', TASKS, **settings)
