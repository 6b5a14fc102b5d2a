"""GradNorm."""

from dataclasses import replace

from mtl_training.weighting import build_weighting
import pytest
import torch

TASKS = ('x', 'y', 'z')


def mean_losses(problem) -> torch.Tensor:
    return torch.stack([loss.mean().detach() for loss in problem.losses().values()])


def plain_gradients(problem, tasks=TASKS) -> list[torch.Tensor]:
    losses = problem.losses(tasks)
    return [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss.mean(), tuple(problem.shared))])
        for loss in losses.values()
    ]


def test_the_weights_follow_the_gradient_of_the_published_objective(toy) -> None:
    problem = toy.Problem(TASKS, scales={'x': 4.0, 'z': 0.3})
    weighting = build_weighting('gradnorm', TASKS, alpha=1.5, lr=0.05)
    weights = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([weights], lr=0.05)
    initial = mean_losses(problem)
    for _ in range(12):
        means = mean_losses(problem)
        lengths = torch.stack([g.norm() for g in plain_gradients(problem)])
        toy.train(problem, weighting, torch.optim.SGD(problem.parameters(), lr=0.01), [0])
        adam.zero_grad()
        norms = weights * lengths
        ratios = means / initial
        targets = (norms.mean() * (ratios / ratios.mean()) ** 1.5).detach()
        (norms - targets).abs().sum().backward()
        adam.step()
        weights.data *= 3 / weights.data.sum()
        found = torch.tensor(list(weighting.weights().values()))
        torch.testing.assert_close(found, weights.detach(), rtol=1e-4, atol=1e-5)
    assert float(found.std()) > 0.1


def test_without_alpha_the_norms_become_equal(toy) -> None:
    problem = toy.Problem(('x', 'y'), scales={'x': 3.0})
    weighting = build_weighting('gradnorm', ('x', 'y'), alpha=0.0, lr=0.01)
    for _ in range(300):
        toy.backward(problem, weighting)
    weights = torch.tensor(list(weighting.weights().values()))
    lengths = torch.stack([g.norm() for g in plain_gradients(problem, ('x', 'y'))])
    norms = weights * lengths
    torch.testing.assert_close(norms[0], norms[1], rtol=0.1, atol=0)


def test_shared_and_private_parameters_get_the_weighted_gradient(toy) -> None:
    problem = toy.Problem(TASKS)
    weighting = build_weighting('gradnorm', TASKS)
    weighting.factors.copy_(torch.tensor([0.5, 1.0, 1.5]))
    toy.backward(problem, weighting)
    found = toy.gradient(problem)
    weights = (0.5, 1.0, 1.5)
    total = sum(w * loss.mean() for w, loss in zip(weights, problem.losses().values()))
    expected = torch.autograd.grad(total, tuple(problem.parameters()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]))


def test_absent_tasks_keep_their_share(toy) -> None:
    problem = toy.Problem(TASKS, scales={'x': 4.0})
    weighting = build_weighting('gradnorm', TASKS, lr=0.1)
    for _ in range(4):
        toy.backward(problem, weighting, tasks=('x', 'y'))
    weights = weighting.weights()
    assert weights['z'] == 1.0
    assert weights['x'] < 0.9
    assert sum(weights.values()) == pytest.approx(3)


@pytest.mark.parametrize('only', ['loss', 'gradient'])
def test_a_task_that_is_done_draws_no_other_to_zero(toy, only) -> None:
    problem = toy.Problem(('x', 'y', 'z'), scales={'x': 0.0})
    weighting = build_weighting('gradnorm', ('x', 'y', 'z'), lr=0.05)
    weighting.factors.copy_(torch.tensor([2.6, 0.2, 0.2]))
    for _ in range(100):
        losses = problem.losses()
        if only == 'gradient':  # a loss that nothing changes
            losses['x'] = replace(losses['x'], values=losses['x'].values + 1.0)
        toy.backward(problem, weighting, losses=losses)
    weights = weighting.weights()
    assert weights['x'] == pytest.approx(2.6)
    assert weights['y'] + weights['z'] == pytest.approx(0.4)
    assert min(weights.values()) > 0.02
    if only == 'loss':
        # Of the two that go on alone.
        total = sum(5 * weights[t] * problem.losses()[t].mean() for t in ('y', 'z'))
        expected = torch.autograd.grad(total, tuple(problem.shared))
        toy.backward(problem, weighting)
        found = torch.cat([parameter.grad.flatten() for parameter in problem.shared])
        torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]))


def test_the_first_losses_are_averaged_over_the_steps_asked_for(toy) -> None:
    problem = toy.Problem(('x', 'y'))
    weighting = build_weighting('gradnorm', ('x', 'y'), initial_steps=3)
    optimiser = torch.optim.SGD(problem.parameters(), lr=0.05)
    seen = []
    for iteration in range(5):
        seen.append(mean_losses(problem))
        toy.train(problem, weighting, optimiser, [iteration])
    torch.testing.assert_close(weighting.initial, torch.stack(seen[:3]).mean(0))


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'alpha': -1.0}, r'alpha must lie in \[0, 10\], got -1.0'),
        ({'lr': 0.0}, 'lr must be positive and finite, got 0.0'),
        ({'initial_steps': 0}, 'initial_steps must be at least 1, got 0'),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_weighting('gradnorm', TASKS, **settings)
