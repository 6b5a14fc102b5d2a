"""Auto-Lambda."""

from dataclasses import replace

from mtl_training.weighting import build_weighting
import pytest
import torch

TASKS = ('x', 'y', 'z')
RATE = 0.02


def start(toy, **settings):
    """Return a problem somewhere on its way, and the weighting."""
    problem = toy.Problem(TASKS, scales={'y': 2.0})
    generator = torch.Generator().manual_seed(3)
    for parameter in problem.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return problem, build_weighting('auto_lambda', TASKS, **settings)


def loss_ahead(problem, weights, primary) -> float:
    """Return the loss on other samples after one plain step on the weighted losses."""
    parameters = tuple(problem.parameters())
    losses = problem.losses().values()
    total = sum(weight * loss.mean() for weight, loss in zip(weights, losses))
    step = torch.autograd.grad(total, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, step):
            parameter -= RATE * gradient
        ahead = sum(float(problem.losses(upcoming=True)[task].mean()) for task in primary)
        for parameter, gradient in zip(parameters, step):
            parameter += RATE * gradient
    return ahead


@pytest.mark.parametrize('primary', [None, ('y',)])
def test_the_weights_follow_the_loss_one_step_ahead(toy, primary) -> None:
    settings = {} if primary is None else {'primary': primary}
    problem, weighting = start(toy, normalise=False, **settings)
    toy.backward(problem, weighting, learning_rate=RATE)
    # The first moment is a tenth of the only gradient so far.
    found = 10 * weighting.adam.first.double()
    problem.double()
    for tensors in (problem.inputs, problem.targets, problem.heads):
        tensors.update({task: tensor.double() for task, tensor in tensors.items()})
    expected, width = [], 1e-4
    for index in range(3):
        sides = []
        for sign in (1, -1):
            weights = [0.1 + sign * width * (index == i) for i in range(3)]
            sides.append(loss_ahead(problem, weights, primary or TASKS))
        expected.append((sides[0] - sides[1]) / (2 * width))
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize('normalise', [True, False])
def test_the_network_gets_the_weighted_gradient_and_is_left_bitwise_alone(toy, normalise) -> None:
    problem, weighting = start(toy, normalise=normalise)
    before = [parameter.detach().clone() for parameter in problem.parameters()]
    toy.backward(problem, weighting, learning_rate=RATE)
    assert all(torch.equal(p, q) for p, q in zip(problem.parameters(), before))
    weights = weighting.weights()
    assert sum(weights.values()) == pytest.approx(3.0 if normalise else 0.3, rel=1e-2)
    total = sum(weights[task] * loss.mean() for task, loss in problem.losses().items())
    expected = torch.autograd.grad(total, tuple(problem.parameters()))
    torch.testing.assert_close(toy.gradient(problem), torch.cat([g.flatten() for g in expected]))


def test_a_task_that_only_does_harm_gets_less(toy) -> None:
    problem, weighting = start(toy, primary=('x',), lr=0.01)
    # What it is told to fit is the opposite of what helps x.
    problem.inputs['z'], problem.heads['z'] = problem.inputs['x'], problem.heads['x']
    problem.targets['z'] = -problem.targets['x']
    optimiser = torch.optim.SGD(problem.parameters(), lr=0.01)
    toy.train(problem, weighting, optimiser, range(20), learning_rate=0.01)
    weights = weighting.weights()
    assert weights['z'] < 0.3
    assert weights['x'] > 1.3


def test_only_each_nth_iteration_moves_the_weights(toy) -> None:
    problem, weighting = start(toy, every=3)
    moves = []
    for iteration in range(7):
        before = weighting.factors.clone()
        toy.backward(problem, weighting, iteration=iteration, learning_rate=RATE)
        moves.append(not torch.equal(before, weighting.factors))
        assert toy.gradient(problem).any()
    assert moves == [True, False, False, True, False, False, True]


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_batch_ahead_that_is_not_finite_moves_nothing_but_the_step_goes_on(toy, value) -> None:
    problem, weighting = start(toy)
    toy.backward(problem, weighting, learning_rate=RATE)
    state = {key: tensor.clone() for key, tensor in weighting.state_dict().items()}
    expected = toy.gradient(problem)
    context = toy.make_context(problem, weighting, learning_rate=RATE)
    broken = problem.losses(upcoming=True)
    broken['x'] = replace(broken['x'], values=broken['x'].values * value)
    before = [parameter.detach().clone() for parameter in problem.parameters()]
    weighting.backward(problem.losses(), replace(context, upcoming_losses=lambda: broken))
    assert all(torch.equal(p, q) for p, q in zip(problem.parameters(), before))
    assert all(torch.equal(v, state[key]) for key, v in weighting.state_dict().items())
    torch.testing.assert_close(toy.gradient(problem), expected)


def test_tasks_that_no_batch_ahead_has_move_nothing(toy) -> None:
    problem, weighting = start(toy, primary=('x',))
    context = toy.make_context(problem, weighting, tasks=('y', 'z'), learning_rate=RATE)
    weighting.backward(problem.losses(), context)
    assert (weighting.factors == 0.1).all()
    assert toy.gradient(problem).any()


def test_a_task_that_has_nothing_in_common_with_the_primary_keeps_its_weight(toy) -> None:
    problem, weighting = start(toy, primary=('x',))
    for parameter in problem.shared:
        parameter.requires_grad_(False)
    toy.backward(problem, weighting, learning_rate=RATE)
    assert weighting.factors[0] > 0.1
    assert (weighting.factors[1:] == 0.1).all()


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'lr': 0.0}, 'lr must be positive and finite, got 0.0'),
        ({'initial': -0.1}, 'initial must be positive and finite, got -0.1'),
        ({'betas': [0.9]}, r'betas must be two numbers in \[0, 1\), got \[0.9\]'),
        ({'betas': [0.9, 1]}, r'betas must be two numbers in \[0, 1\), got \[0.9, 1\]'),
        ({'every': 0}, 'every must be at least 1, got 0'),
        ({'primary': ['q']}, r"primary must name at least one of .* got \['q'\]"),
        ({'primary': []}, r'primary must name at least one of .* got \[\]'),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('auto_lambda', TASKS, **settings)
