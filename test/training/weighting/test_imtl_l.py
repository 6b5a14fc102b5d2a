"""Impartial learning by losses."""

from mtl_training.weighting import build_weighting
import torch
from torchjd.scalarization import IMTLL

VALUES = {'x': 0.5, 'y': 2.0, 'z': 8.0}
LOSSES = torch.tensor(list(VALUES.values()))


def test_it_is_that_of_torchjd(toy) -> None:
    ours, theirs = build_weighting('imtl_l', VALUES, normalise=False), IMTLL(3)
    start = torch.tensor([0.3, -1.0, 2.0])
    toy.set_logarithms(ours.log_scales, start)
    theirs.log_scale.data.copy_(start)
    losses = LOSSES.clone().requires_grad_()
    theirs(losses).backward()
    torch.testing.assert_close(toy.factors(ours, VALUES), losses.grad)
    torch.testing.assert_close(toy.gradients_of(ours), theirs.log_scale.grad)


def test_the_weighted_losses_all_tend_to_one(toy) -> None:
    weighting = build_weighting('imtl_l', VALUES, normalise=False)
    toy.settle(weighting, VALUES, 400)
    torch.testing.assert_close(toy.factors(weighting, VALUES) * LOSSES, torch.ones(3))
