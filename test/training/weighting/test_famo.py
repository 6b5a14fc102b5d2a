"""FAMO, and the Adam that its logits follow."""

from mtl_training.weighting import build_weighting
from mtl_training.weighting.vector_adam import VectorAdam
import pytest
import torch
from torchjd.scalarization import FAMO

TASKS = ('x', 'y', 'z')


def test_it_is_that_of_torchjd(toy) -> None:
    ours = build_weighting('famo', TASKS, lr=0.05, gamma=0.01, normalise=False)
    theirs = FAMO(3, lr=0.05, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        losses = torch.rand(3, generator=generator).add(0.1).requires_grad_()
        after = losses.detach() * torch.rand(3, generator=generator)
        theirs(losses).backward()
        theirs.update(after)
        found = toy.factors(ours, dict(zip(TASKS, losses.tolist())))
        ours.after_step(dict(zip(TASKS, after)))
        torch.testing.assert_close(found, losses.grad)
    assert float(ours.logits.abs().max()) > 0.1


def test_the_task_that_falls_behind_gets_more(toy) -> None:
    weighting = build_weighting('famo', ('x', 'y'))
    for _ in range(20):
        toy.factors(weighting, {'x': 1.0, 'y': 1.0})
        weighting.after_step({'x': torch.tensor(1.0), 'y': torch.tensor(0.5)})
    found = toy.factors(weighting, {'x': 1.0, 'y': 1.0})
    assert found[0] > 1.2 > found[1]


def test_losses_that_are_not_finite_after_the_step_move_nothing(toy) -> None:
    weighting = build_weighting('famo', ('x', 'y'))
    toy.factors(weighting, {'x': 1.0, 'y': 1.0})
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    weighting.after_step({'x': torch.tensor(float('inf')), 'y': torch.tensor(1.0)})
    assert all(torch.equal(value, before[key]) for key, value in weighting.state_dict().items())


def test_the_small_adam_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.nn.Parameter(torch.randn(4, generator=generator))
    ours, mine = VectorAdam(4, lr=0.1, betas=(0.5, 0.99), weight_decay=0.1), values.detach()
    theirs = torch.optim.Adam([values], lr=0.1, betas=(0.5, 0.99), weight_decay=0.1)
    for _ in range(10):
        values.grad = torch.randn(4, generator=generator)
        mine = ours.updated(mine, values.grad, range(4))
        theirs.step()
    torch.testing.assert_close(mine, values.detach())


def test_the_small_adam_leaves_absent_elements_as_they_are() -> None:
    whole, part = VectorAdam(3, lr=0.1), VectorAdam(1, lr=0.1)
    for step in range(5):
        gradient = torch.tensor([step + 1.0])
        if step % 2:
            whole.updated(torch.ones(2), torch.ones(2), [2, 0])
        found = whole.updated(torch.ones(1), gradient, [1])
        assert torch.equal(found, part.updated(torch.ones(1), gradient, [0]))


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'lr': 0.0}, 'lr must be positive and finite, got 0.0'),
        ({'gamma': -1.0}, r'gamma must lie in \[0, 1\), got -1.0'),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('famo', TASKS, **settings)
