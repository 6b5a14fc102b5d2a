"""Smooth Tchebycheff scalarization."""

from mtl_training.weighting import build_weighting
import pytest
import torch
from torchjd.scalarization import STCH

TASKS = ('x', 'y', 'z')
IDEAL = {'x': 0.5, 'z': -1.0}


def test_after_the_warm_up_it_is_that_of_torchjd(toy) -> None:
    weighting = build_weighting('stch', TASKS, mu=0.3, warm_up=2, ideal=IDEAL, normalise=False)
    for values in ((2.0, 8.0, 1.0), (4.0, 4.0, 3.0)):
        assert (toy.factors(weighting, dict(zip(TASKS, values))) == 1).all()
    nadir, ideal = torch.tensor([3.0, 6.0, 2.0]), torch.tensor([0.5, 0.0, -1.0])
    for values in ((2.0, 5.0, 1.0), (2.5, 0.3, 0.4)):
        losses = torch.tensor(values, requires_grad=True)
        STCH(0.3, weights=1 / (nadir - ideal), reference=ideal)(losses).backward()
        found = toy.factors(weighting, dict(zip(TASKS, values)))
        torch.testing.assert_close(found, losses.grad)


def test_a_task_that_comes_late_has_its_own_warm_up(toy) -> None:
    weighting = build_weighting('stch', TASKS, warm_up=2)
    for _ in range(2):
        toy.factors(weighting, {'x': 2.0, 'y': 4.0})
    # x lags behind: relative to its start it is the larger.
    found = toy.factors(weighting, {'x': 2.0, 'y': 1.0})
    assert found[0] > found[1]
    assert float(found.sum()) == pytest.approx(2)
    for _ in range(2):
        assert (toy.factors(weighting, {'x': 9.0, 'y': 9.0, 'z': 1.0}) == 1).all()
    assert not (toy.factors(weighting, {'x': 9.0, 'y': 9.0, 'z': 1.0}) == 1).all()
    # The nadirs of the others stay those of their own first steps.
    assert torch.equal(toy.factors(weighting, {'x': 2.0, 'y': 1.0}), found)


def test_of_logarithms_it_is_that_of_torchjd_on_logarithms(toy) -> None:
    settings = {'mu': 0.3, 'warm_up': 1, 'ideal': IDEAL, 'logarithmic': True, 'normalise': False}
    weighting = build_weighting('stch', TASKS, **settings)
    nadir, ideal = torch.tensor([3.0, 6.0, 2.0]), torch.tensor([0.5, 0.0, -1.0])
    toy.factors(weighting, dict(zip(TASKS, nadir.tolist())))
    for values in ((2.0, 5.0, 1.0), (2.5, 0.3, 0.4)):
        losses = torch.tensor(values, requires_grad=True)
        logs = ((losses - ideal) / (nadir - ideal)).log()
        # Its preferences are 1/3 by default: the same with a third of the mu.
        (3 * STCH(0.1)(logs)).backward()
        torch.testing.assert_close(toy.factors(weighting, dict(zip(TASKS, values))), losses.grad)
    # A loss at its ideal has a finite factor.
    assert torch.isfinite(toy.factors(weighting, {'x': 0.5, 'y': 1.0, 'z': -1.0})).all()


def test_with_a_small_mu_the_largest_counts_alone(toy) -> None:
    weighting = build_weighting('stch', TASKS, mu=0.01, warm_up=1)
    toy.factors(weighting, dict.fromkeys(TASKS, 1.0))
    found = toy.factors(weighting, {'x': 0.5, 'y': 0.9, 'z': 0.2})
    torch.testing.assert_close(found, torch.tensor([0.0, 3.0, 0.0]))


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'mu': 0.0}, 'mu must be positive and finite, got 0.0'),
        ({'warm_up': 0}, 'warm_up must be at least 1, got 0'),
        ({'ideal': {'q': 0.0}}, "ideal: no task 'q'"),
        ({'ideal': {'x': 'low'}}, "ideal: that of 'x' must be a number, got 'low'"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('stch', TASKS, **settings)
