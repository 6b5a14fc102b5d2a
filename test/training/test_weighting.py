"""The weightings and their contract."""

from mtl_training.regimes import build_regime
from mtl_training.weighting import (
    build_weighting,
    is_finite,
    StepContext,
    TaskLoss,
    WEIGHTINGS,
)
import pytest
import torch

TASKS = ('x', 'y')


def toy_losses(weight: torch.Tensor) -> dict[str, TaskLoss]:
    targets = {'x': torch.tensor([1.0, 2.0]), 'y': torch.tensor([3.0, 4.0, 8.0])}
    return {
        task: TaskLoss((weight - target) ** 2, torch.arange(len(target)))
        for task, target in targets.items()
    }


def total(weight: torch.Tensor) -> float:
    return sum(float(loss.mean()) for loss in toy_losses(weight.detach()).values())


# Losses near 60 would end at its bound at once, and the weights of the network shrink fifty-fold.
SETTINGS = {'instance_level': {'bound': 0.5}}


def build(name: str):
    weighting = build_weighting(name, TASKS, **SETTINGS.get(name, {}))
    weighting.prepare({'x': 2, 'y': 3})
    return weighting


def backward(weighting, losses) -> None:
    weighting.backward(losses, StepContext(torch.Tensor.backward))


def test_average_sums_the_mean_losses_of_the_tasks() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    losses = toy_losses(weight)
    backward(build_weighting('average', TASKS), losses)
    # d/dw of mean (w - t)^2 is 2 (w - mean t); the means are 1.5 and 5.
    torch.testing.assert_close(weight.grad, torch.tensor(2 * (0.5 - 1.5) + 2 * (0.5 - 5.0)))


@pytest.mark.parametrize('name', sorted(WEIGHTINGS))
def test_every_weighting_decreases_a_convex_loss(name) -> None:
    weight = torch.tensor(-2.0, requires_grad=True)
    weighting = build(name)
    optimiser = torch.optim.Adam([weight, *weighting.parameters()], lr=0.1)
    before = total(weight)
    for _ in range(30):
        optimiser.zero_grad()
        backward(weighting, toy_losses(weight))
        optimiser.step()
    assert total(weight) < 0.6 * before


@pytest.mark.parametrize('name', sorted(WEIGHTINGS))
def test_every_weighting_works_with_absent_tasks(name) -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    losses = toy_losses(weight)
    backward(build(name), {'y': losses['y']})
    assert weight.grad is not None
    assert torch.isfinite(weight.grad)
    assert float(weight.grad) < 0


def test_one_value_that_is_not_finite_is_seen() -> None:
    losses = toy_losses(torch.tensor(0.5))
    assert is_finite(losses)
    losses['x'].values[1] = float('nan')
    assert not is_finite(losses)


def test_unknown_names_and_settings_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown weighting 'avrage'. Did you mean 'average'"):
        build_weighting('avrage', TASKS)
    with pytest.raises(ValueError, match=r"weighting 'average' has no setting 'power'"):
        build_weighting('average', TASKS, power=2)
    with pytest.raises(ValueError, match=r"Unknown regime 'join'. Did you mean 'joint'"):
        build_regime('join', TASKS)
    with pytest.raises(ValueError, match=r'label_smoothing must be in \[0, 1\), got 1'):
        build_regime('joint', TASKS, label_smoothing=1)
