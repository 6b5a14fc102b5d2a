"""Losses that may be negative, as those of captions, and the weightings that can't weigh them."""

from dataclasses import replace
import re

from mtl_training.comparison.config import load_comparison
from mtl_training.comparison.plan import planned_runs
from mtl_training.config import build_config
from mtl_training.criteria import CRITERIA
from mtl_training.criteria.caption import CaptionCriterion
from mtl_training.criteria.classification import ClassificationCriterion
from mtl_training.trainer import Trainer
from mtl_training.weighting import build_weighting, WEIGHTINGS
from mtl_training.weighting.positive_losses import check_signs
import pytest
from rich.console import Console
import torch
import yaml

TASKS = ('x', 'y', 'z')
BELOW = 100.0  # by which losses are lowered: far below zero
# So short that what they rule is reached within a few steps.
SETTINGS = {
    'dwa': {'interval': 2},
    'fixed': {'weights': {'x': 1.0, 'y': 2.0, 'z': 0.5}},
    'stch': {'warm_up': 2},
}
POSITIVE = {
    'automatic', 'db_mtl', 'dwa', 'famo', 'gls', 'gradnorm', 'imtl_l', 'instance_level', 'stch',
    'uncertainty',
}  # fmt: skip


def gradients(toy, name: str, below: float, **settings) -> torch.Tensor:
    """Return the gradients of a few steps with losses that are lowered by a constant."""

    class Lowered(toy.Problem):
        def losses(self, *args, **kwargs):
            found = super().losses(*args, **kwargs)
            return {t: replace(loss, values=loss.values - below) for t, loss in found.items()}

    torch.manual_seed(0)
    problem = Lowered(TASKS)
    weighting = toy.prepare(build_weighting(name, TASKS, **SETTINGS.get(name, {}) | settings))
    optimiser = toy.make_optimiser(problem, weighting, lr=1e-2)
    steps = []
    for iteration in range(7):
        toy.train(problem, weighting, optimiser, [iteration])
        steps.append(toy.gradient(problem))
    return torch.stack(steps)


@pytest.mark.parametrize('name', sorted(WEIGHTINGS))
def test_a_constant_in_the_losses_tells_who_needs_them_positive(toy, name) -> None:
    plain, lowered = gradients(toy, name, 0), gradients(toy, name, BELOW)
    is_alike = torch.allclose(plain, lowered, rtol=1e-4, atol=1e-6)
    assert is_alike == (not WEIGHTINGS[name].needs_positive_losses) == (name not in POSITIVE)


def test_only_the_losses_of_captions_may_be_negative() -> None:
    assert [kind for kind, one in CRITERIA.items() if one.may_be_negative] == ['caption']


@pytest.mark.parametrize('name', sorted(POSITIVE))
def test_a_weighting_that_needs_positive_losses_is_refused_for_captions(name) -> None:
    weighting = build_weighting(name, ('a', 'b'))
    check_signs(weighting, name, {'a': ClassificationCriterion(), 'b': ClassificationCriterion})
    message = rf"weighting '{name}' needs positive losses, but that of task 'b' may be negative"
    with pytest.raises(ValueError, match=message) as refusal:
        check_signs(weighting, name, {'a': ClassificationCriterion(), 'b': CaptionCriterion()})
    instead = set(re.findall(r'\w+', str(refusal.value).split(': ')[1])) & set(WEIGHTINGS)
    assert instead == {'average', 'fixed', 'rlw', 'pcgrad', 'upgrad', 'nash_mtl'}
    assert not instead & POSITIVE


@pytest.mark.parametrize('name', sorted(set(WEIGHTINGS) - POSITIVE))
def test_every_other_weighting_takes_captions(name) -> None:
    settings = {'weights': {'a': 1.0}} if name == 'fixed' else {}
    check_signs(build_weighting(name, ('a',), **settings), name, {'a': CaptionCriterion})


@pytest.mark.parametrize('logarithmic', [False, True])
def test_stch_takes_captions_with_the_lowest_that_they_can_reach(toy, logarithmic) -> None:
    weighting = build_weighting('stch', ('a', 'b'), ideal={'a': -1.0})
    check_signs(weighting, 'stch', {'a': CaptionCriterion, 'b': ClassificationCriterion})
    with pytest.raises(ValueError, match="that of task 'b' may be negative"):
        check_signs(weighting, 'stch', {'b': CaptionCriterion})
    plain, lowered = (
        gradients(toy, 'stch', below, logarithmic=logarithmic, ideal=dict.fromkeys(TASKS, -below))
        for below in (0.0, 1.0)
    )
    torch.testing.assert_close(plain, lowered, rtol=1e-4, atol=1e-5)


def test_a_run_and_the_plan_of_a_comparison_refuse_it(toy_block, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ClassificationCriterion, 'may_be_negative', True)
    message = "weighting 'gls' needs positive losses, but that of task 'action'"
    config = build_config({**toy_block, 'weighting': {'name': 'gls'}})
    with pytest.raises(ValueError, match=message):
        Trainer(config, tmp_path / 'run', Console(quiet=True))
    del toy_block['threads']
    grid = {
        'base': toy_block,
        'sharing': {'HPS': {'name': 'hard'}},
        'weighting': {'GLS': {'name': 'gls'}},
    }
    path = tmp_path / 'grid.yaml'
    path.write_text(yaml.safe_dump(grid))
    with pytest.raises(ValueError, match=message):
        planned_runs(load_comparison(path), tmp_path)
