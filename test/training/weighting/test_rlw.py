"""Random weights."""

from mtl_training.weighting import build_weighting
import torch
from torchjd.scalarization import Random

TASKS = ('x', 'y', 'z')


def test_they_are_those_of_torchjd(toy) -> None:
    weighting = build_weighting('rlw', TASKS, normalise=False)
    for seed in range(3):
        torch.manual_seed(seed)
        found = toy.factors(weighting, {'x': 1.0, 'y': 2.0, 'z': 3.0})
        torch.manual_seed(seed)
        losses = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        Random()(losses).backward()
        torch.testing.assert_close(found, losses.grad)


def test_they_change_in_every_step_and_favour_none(toy) -> None:
    torch.manual_seed(0)
    weighting = build_weighting('rlw', TASKS)
    draws = torch.stack([toy.factors(weighting, dict.fromkeys(TASKS, 1.0)) for _ in range(400)])
    assert len(draws.unique(dim=0)) == 400
    torch.testing.assert_close(draws.mean(0), torch.ones(3), rtol=0, atol=0.15)
    torch.testing.assert_close(draws.sum(1), torch.full((400,), 3.0))


def test_what_is_drawn_later_does_not_depend_on_who_is_present(toy) -> None:
    weighting, later = build_weighting('rlw', TASKS), []
    for present in (TASKS, ('y',)):
        torch.manual_seed(0)
        toy.factors(weighting, dict.fromkeys(present, 1.0))
        later.append(torch.rand(3))
    assert torch.equal(*later)
