"""What holds for every weighting of the table."""

import copy
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace

from mtl_training.criteria.classification import ClassificationCriterion
from mtl_training.regimes import build_regime
from mtl_training.weighting import (
    build_weighting,
    NotFiniteError,
    WEIGHTINGS,
)
import pytest
from safetensors.torch import load, save
import torch
from torch.nn.functional import cross_entropy

TWO, THREE = ('x', 'y'), ('x', 'y', 'z')
# So short that what they rule is reached within a few steps.
SETTINGS = {
    'auto_lambda': {'every': 2},
    'dwa': {'interval': 2},
    'gradnorm': {'initial_steps': 2},
    # Its rate is per sample.
    'instance_level': {'table_rate': 0.02},
    'stch': {'warm_up': 3},
}
# So that the gradients weighed are those of the step, not averages over steps.
NO_MEMORY = {'db_mtl': {'beta': 0}, 'moco': {'beta': 1}}
# What keeps something of each shared parameter, or of each sample.
LARGE_STATE = ('db_mtl', 'excess_mtl', 'instance_level', 'moco')
ALL = sorted(WEIGHTINGS)
NORMALISED = [n for n in ALL if 'normalise' in signature(WEIGHTINGS[n]).parameters]


def build(toy, name: str, tasks=TWO, **settings):
    """Build a weighting that has been told the sizes of the training sets."""
    settings = SETTINGS.get(name, {}) | settings
    if name == 'fixed':
        settings = {'weights': {t: 1.0 + i for i, t in enumerate(tasks)}} | settings
    return toy.prepare(build_weighting(name, tasks, **settings))


def assert_weights_are_finite(weighting) -> None:
    weights = weighting.weights()
    assert set(weights) == set(weighting.tasks)
    assert all(torch.isfinite(torch.tensor(list(weights.values()))))


@pytest.mark.parametrize('tasks', [TWO, THREE], ids=len)
@pytest.mark.parametrize('name', ALL)
def test_every_weighting_decreases_a_convex_loss(toy, name, tasks) -> None:
    problem, weighting = toy.Problem(tasks), build(toy, name, tasks)
    before = problem.total()
    toy.train(problem, weighting, toy.make_optimiser(problem, weighting), range(40))
    assert problem.total() < 0.3 * before
    assert_weights_are_finite(weighting)


@pytest.mark.parametrize('name', ALL)
def test_every_weighting_works_with_absent_tasks(toy, name) -> None:
    problem, weighting = toy.Problem(THREE), build(toy, name, THREE)
    optimiser = toy.make_optimiser(problem, weighting)
    present = [('y',), ('x', 'z'), THREE, ('z',), ('y', 'x'), THREE]
    for iteration, tasks in enumerate(present * 2):
        toy.train(problem, weighting, optimiser, [iteration], tasks=tasks)
        assert torch.isfinite(toy.gradient(problem)).all()
        assert any(parameter.grad.any() for parameter in problem.shared)
        for task in THREE:
            own = problem.private[task].grad
            assert (own is not None and bool(own.any())) == (task in tasks)
    assert_weights_are_finite(weighting)


@pytest.mark.parametrize('name', [name for name in ALL if name not in ('fixed', 'instance_level')])
def test_a_single_task_has_the_weight_one(toy, name) -> None:
    problem, weighting = toy.Problem(['x']), build(toy, name, ['x'])
    toy.backward(problem, weighting)
    found = toy.gradient(problem)
    toy.backward(problem, build_weighting('average', ['x']))
    torch.testing.assert_close(found, toy.gradient(problem))


@pytest.mark.parametrize('name', ALL)
def test_every_weighting_trains_a_single_task(toy, name) -> None:
    problem, weighting = toy.Problem(['x']), build(toy, name, ['x'])
    before = problem.total()
    toy.train(problem, weighting, toy.make_optimiser(problem, weighting), range(40))
    assert problem.total() < 0.3 * before


@pytest.mark.parametrize('scales', [(0.0, 1.0), (1e-30, 1.0), (1e4, 1e-30), (0.0, 0.0)])
@pytest.mark.parametrize('name', ALL)
def test_extreme_losses_give_finite_steps(toy, name, scales) -> None:
    problem = toy.Problem(THREE, scales=dict(zip(THREE, (*scales, 1e4 * scales[1]))))
    weighting = build(toy, name, THREE)
    optimiser = toy.make_optimiser(problem, weighting, lr=1e-3)
    for iteration in range(8):
        toy.train(problem, weighting, optimiser, [iteration])
        assert torch.isfinite(toy.gradient(problem)).all()
        assert_weights_are_finite(weighting)
    for tensor in weighting.state_dict().values():
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize('where', ['shared', 'private'])
@pytest.mark.parametrize('name', ALL)
def test_gradients_that_overflow_change_no_large_state_and_show(toy, name, where) -> None:
    # So many shared parameters and samples that what is kept of each is put back by no step.
    large, width = 4096, 2100
    problem = toy.Problem(TWO, width=width)
    settings = {'weights': dict.fromkeys(TWO, 1.0)} if name == 'fixed' else {}
    weighting = build_weighting(name, TWO, **SETTINGS.get(name, {}), **settings)
    toy.prepare(weighting, large + 1)
    optimiser = toy.make_optimiser(problem, weighting, lr=1e-4)
    toy.train(problem, weighting, optimiser, range(5), learning_rate=1e-4)
    # A finite loss with an infinite gradient, as an overflow in half precision has.
    parameter = problem.shared[1] if where == 'shared' else problem.private['x']
    parameter.data.zero_()
    losses = problem.losses(merge=not weighting.separate_graphs)
    losses['x'] = replace(losses['x'], values=losses['x'].values + parameter.sum().sqrt())
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    try:
        toy.backward(problem, weighting, losses=losses, learning_rate=1e-4)
    except NotFiniteError:
        assert weighting.separate_graphs
        kept = before.keys()
    else:
        assert not weighting.separate_graphs
        assert not torch.isfinite(toy.gradient(problem)).all()
        kept = {key for key, value in before.items() if value.numel() > large}
    sizes = {key: value.numel() for key, value in before.items()}
    assert (max(sizes.values(), default=0) > large) == (name in LARGE_STATE)
    after = weighting.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in kept)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('ends', [0, 15], ids='at step {}'.format)
def test_a_task_that_is_done_stops_no_other(toy, name, ends) -> None:
    torch.manual_seed(0)
    # Of two tasks that go on, the geometric mean ends the one at the expense of the other.
    tasks = TWO if name == 'gls' else THREE
    problem, weighting = toy.Problem(tasks), build(toy, name, tasks)
    # Neither Adam nor anything else that hides how long a gradient is.
    trained = [*problem.parameters(), *weighting.parameters()]
    optimiser = torch.optim.SGD(trained, lr=0.01)
    toy.train(problem, weighting, optimiser, range(ends), learning_rate=0.01)
    problem.scales['x'] = 0.0
    before = problem.total()
    toy.train(problem, weighting, optimiser, range(ends, ends + 100), learning_rate=0.01)
    assert problem.total() < 0.6 * before


@pytest.mark.parametrize('name', ['gls', 'famo'])
def test_as_published_a_task_that_is_done_stops_the_others(toy, name) -> None:
    """Their factors go with ``1 / L``, over what all losses say: this is the method."""
    weighting = build_weighting(name, TWO, normalise=False)
    floor = 1e-8
    factors = toy.factors(weighting, {'x': 0.0, 'y': 4.0})
    expected = {
        'gls': [(4 / floor) ** 0.5 / 2, (floor / 4) ** 0.5 / 2],
        'famo': [1.0, floor / 4],
    }[name]
    assert factors.tolist() == pytest.approx(expected, rel=1e-4)
    # Not where their sum is that of the tasks which have something to learn.
    normalised = toy.factors(build_weighting(name, TWO), {'x': 0.0, 'y': 4.0})
    assert normalised.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    'name', ['gls', 'famo', 'imtl_g', 'nash_mtl', 'fairgrad', 'db_mtl', 'mgda']
)
def test_the_sum_of_weights_says_nothing_about_the_length_of_the_step(toy, name) -> None:
    """A task that is nearly done makes the whole step short where weights go with ``1 / L``."""
    lengths = []
    for scale in (1.0, 1e-4):
        problem = toy.Problem(TWO, scales={'x': scale})
        toy.backward(problem, build(toy, name))
        lengths.append(float(torch.cat([p.grad.flatten() for p in problem.shared]).norm()))
    assert lengths[1] < 0.01 * lengths[0]


@pytest.mark.parametrize('name', ALL)
def test_a_restored_weighting_goes_on_bitwise_the_same(toy, name) -> None:
    problem, weighting = toy.Problem(THREE), build(toy, name, THREE)
    optimiser = toy.make_optimiser(problem, weighting)
    torch.manual_seed(1)
    toy.train(problem, weighting, optimiser, range(4))
    toy.train(problem, weighting, optimiser, [4], tasks=('x', 'y'))
    # As the resume point holds it: named tensors and nothing else.
    plain = {k: v.contiguous().clone() for k, v in weighting.state_dict().items()}
    state = load(save(plain)) if plain else {}

    fresh, again = build(toy, name, THREE), toy.Problem(THREE)
    again.load_state_dict(problem.state_dict())
    fresh.load_state_dict(state, strict=True)
    optimiser_again = toy.make_optimiser(again, fresh)
    optimiser_again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    ends = []
    for one, method, rule in (
        (problem, weighting, optimiser),
        (again, fresh, optimiser_again),
    ):
        torch.manual_seed(2)
        toy.train(one, method, rule, range(5, 10))
        ends.append([*one.state_dict().values(), *method.state_dict().values()])
    assert all(torch.equal(left, right) for left, right in zip(*ends, strict=True))
    assert weighting.weights() == fresh.weights()


@pytest.mark.parametrize('name', ALL)
def test_a_restored_weighting_has_the_weights_of_all_tasks_at_once(toy, name) -> None:
    problem, weighting = toy.Problem(THREE), build(toy, name, THREE)
    optimiser = toy.make_optimiser(problem, weighting)
    for iteration, present in enumerate([THREE, THREE, THREE, THREE, ('x', 'z'), ('y',)]):
        toy.train(problem, weighting, optimiser, [iteration], tasks=present)
    fresh = build(toy, name, THREE)
    assert set(fresh.weights()) == set(THREE)
    fresh.load_state_dict(weighting.state_dict(), strict=True)
    assert fresh.weights() == weighting.weights()
    assert set(fresh.weights()) == set(THREE)


@pytest.mark.parametrize('name', ALL)
def test_the_loss_scale_of_the_precision_changes_nothing(toy, name) -> None:
    ends = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(1)
        problem, weighting = toy.Problem(THREE), build(toy, name, THREE)
        optimiser = toy.make_optimiser(problem, weighting, lr=0.01)
        toy.train(problem, weighting, optimiser, range(6), loss_scale=scale)
        ends.append(toy.gradient(problem))
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', ALL)
def test_two_processes_do_the_step_of_one_with_all_samples(toy, name) -> None:
    def run(process):
        problem, weighting = toy.Problem(THREE), build(toy, name, THREE)
        optimiser = toy.make_optimiser(problem, weighting, lr=0.01)
        toy.train(problem, weighting, optimiser, range(5), process=process)
        return toy.gradient(problem), weighting

    torch.manual_seed(1)
    (first, weighting), (second, _) = toy.run_processes(2, run)
    assert torch.equal(first, second)
    torch.manual_seed(1)
    alone, expected = run(None)
    torch.testing.assert_close(first, alone, rtol=1e-3, atol=1e-4)
    for task, weight in expected.weights().items():
        assert weighting.weights()[task] == pytest.approx(weight, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize('name', NORMALISED)
def test_normalised_weights_sum_to_the_number_of_tasks_present(toy, name) -> None:
    problem = toy.Problem(THREE, scales={'x': 3.0, 'y': 0.1})
    weighting = build(toy, name, THREE, normalise=True, **NO_MEMORY.get(name, {}))
    optimiser = toy.make_optimiser(problem, weighting)
    for iteration in range(8):
        present = ('x', 'z') if iteration % 3 == 1 else THREE
        toy.train(problem, weighting, optimiser, [iteration], tasks=present)
        weights = weighting.weights()
        assert sum(weights[task] for task in present) == pytest.approx(len(present), rel=1e-5)
    # And these are the factors of the network's gradient, not only of the log.
    toy.backward(problem, weighting)
    weights, found = weighting.weights(), toy.gradient(problem)
    plain = sum(weights[task] * loss.mean() for task, loss in problem.losses().items())
    expected = torch.autograd.grad(plain, tuple(problem.shared))
    shared = found[: sum(p.numel() for p in problem.shared)]
    torch.testing.assert_close(shared, torch.cat([g.flatten() for g in expected]))


def test_average_sums_the_mean_losses_of_the_tasks(toy) -> None:
    problem = toy.Problem(TWO)
    toy.backward(problem, build(toy, 'average'))
    losses = problem.losses()
    total = sum(loss.values.sum() / len(loss.values) for loss in losses.values())
    expected = torch.autograd.grad(total, tuple(problem.parameters()))
    torch.testing.assert_close(toy.gradient(problem), torch.cat([g.flatten() for g in expected]))


def test_unknown_names_and_settings_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown weighting 'avrage'. Did you mean 'average'"):
        build_weighting('avrage', TWO)
    with pytest.raises(ValueError, match=r"weighting 'average' has no setting 'power'"):
        build_weighting('average', TWO, power=2)
    with pytest.raises(ValueError, match=r"Unknown regime 'join'. Did you mean 'joint'"):
        build_regime('join', TWO)
    with pytest.raises(ValueError, match=r'label_smoothing must be in \[0, 1\), got 1'):
        build_regime('joint', TWO, label_smoothing=1)


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_joint_training_leaves_each_loss_its_smoothing_unless_it_has_one(smoothing) -> None:
    own = {'x': ClassificationCriterion(label_smoothing=0.0 if smoothing else 0.1)}
    criteria = build_regime('joint', TWO, own, label_smoothing=smoothing).criteria
    logits, batch = torch.randn(3, 4), SimpleNamespace(labels=torch.tensor([0, 1, 3]))
    for task, expected in (('x', smoothing or 0.1), ('y', smoothing)):
        loss = cross_entropy(logits, batch.labels, reduction='none', label_smoothing=expected)
        torch.testing.assert_close(criteria[task](logits, batch)[0], loss)


def test_a_smoothing_of_the_regime_keeps_what_the_labels_stand_for() -> None:
    own, targets = {'x': ClassificationCriterion()}, torch.tensor([[0.5, 0.5, 0.0, 0.0]] * 7)
    own['x'].learn_targets(targets)
    criterion = build_regime('joint', TWO, own, label_smoothing=0.2).criteria['x']
    # Labels are rows of the targets, of which there may be more than classes.
    logits, batch = torch.randn(2, 4), SimpleNamespace(labels=torch.tensor([6, 0]))
    loss = cross_entropy(logits, targets[[6, 0]], reduction='none', label_smoothing=0.2)
    torch.testing.assert_close(criterion(logits, batch)[0], loss)


def test_a_smoothing_of_the_regime_and_of_a_loss_are_one_too_many() -> None:
    own = {'y': ClassificationCriterion(label_smoothing=0.1)}
    with pytest.raises(ValueError, match=r"twice, got 0\.2 of the regime and 0\.1 of task 'y'"):
        build_regime('joint', TWO, own, label_smoothing=0.2)
