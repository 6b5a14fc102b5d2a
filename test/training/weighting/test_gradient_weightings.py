"""The gradient weightings against TorchJD, brute force and their defining equations."""

from itertools import product

from mtl_training.weighting import build_weighting, StepContext, TaskLoss
from mtl_training.weighting.gradient_weighting import GramianWeighting
from mtl_training.weighting.gradients import task_gradients
from mtl_training.weighting.gramian import gramian
import pytest
import torch
from torch import Tensor
from torchjd import aggregation

TASKS = ('a', 'b', 'c')
SOLVERS = (
    'aligned_mtl',
    'cagrad',
    'config',
    'fairgrad',
    'gradvac',
    'imtl_g',
    'mgda',
    'nash_mtl',
    'pcgrad',
    'upgrad',
)
NORMALISED = tuple(name for name in SOLVERS if name != 'config')
STATEFUL = ('db_mtl', 'excess_mtl', 'moco')


def rows_of(num_tasks: int, seed: int, common: float = 0.0) -> Tensor:
    """Return random gradients, unlike in norm; `common` makes them agree, if negative disagree."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_tasks, 12, generator=generator)
    rows += common * rows[0].roll(1) * torch.tensor([1, -1, 1])[:num_tasks, None]
    return rows * torch.tensor([1.0, 3.0, 0.5])[:num_tasks, None]


def jacobians(num_tasks: int) -> list[Tensor]:
    return [rows_of(num_tasks, seed, common) for seed in range(6) for common in (0.0, 0.7, -0.7)]


def combine(name: str, rows: Tensor, weighting=None, **settings) -> tuple[Tensor, Tensor]:
    """Return the gradient and the weights of a step whose gradients are these rows."""
    tasks = TASKS[: len(rows)]
    weighting = weighting or build_weighting(name, tasks, **settings)
    shared = torch.nn.Parameter(torch.zeros(rows.shape[1]))
    losses = {
        # Of the gradients given, and with losses of 1, 2, 3.
        task: TaskLoss((shared @ row + i + 1)[None], torch.zeros(1, dtype=torch.int64))
        for i, (task, row) in enumerate(zip(tasks, rows))
    }
    weighting.backward(losses, StepContext(torch.Tensor.backward, (shared,), (shared,)))
    weights = weighting.weights()
    return shared.grad, torch.tensor([weights[task] for task in tasks])


def plain(name: str, rows: Tensor, **settings) -> tuple[Tensor, Tensor]:
    """Return the same as published."""
    normalise = {} if name == 'config' else {'normalise': False}
    return combine(name, rows, **normalise, **settings)


def simplex(num_tasks: int, steps: int) -> Tensor:
    """Return a grid on the probability simplex."""
    points = [p for p in product(range(steps + 1), repeat=num_tasks) if sum(p) == steps]
    return torch.tensor(points, dtype=torch.float64) / steps


def assert_gives(name: str, oracle, num_tasks: int, rtol: float = 1e-4, **settings) -> None:
    for rows in jacobians(num_tasks):
        torch.manual_seed(5)
        expected = oracle(rows)
        torch.manual_seed(5)
        found, _ = plain(name, rows, **settings)
        tolerance = rtol * float(expected.norm())
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# -- TorchJD -----------------------------------------------------------------------------------


@pytest.mark.parametrize('num_tasks', [2, 3])
@pytest.mark.parametrize(
    ('name', 'oracle', 'tolerance', 'settings'),
    [
        ('mgda', aggregation.MGDA(epsilon=1e-6, max_iters=3000), 2e-2, {}),
        ('pcgrad', aggregation.PCGrad(), 1e-5, {}),
        ('upgrad', aggregation.UPGrad(), 2e-3, {}),
        ('imtl_g', aggregation.IMTLG(), 1e-3, {}),
        ('aligned_mtl', aggregation.AlignedMTL(), 1e-4, {}),
        ('aligned_mtl', aggregation.AlignedMTL(scale_mode='rmse'), 1e-4, {'scale_mode': 'rmse'}),
        ('config', aggregation.ConFIG(), 1e-4, {}),
        ('cagrad', aggregation.CAGrad(c=0.4), 1e-4, {'c': 0.4}),
        ('fairgrad', aggregation.FairGrad(alpha=2.0), 1e-3, {'alpha': 2.0}),
    ],
    ids=str,
)
def test_the_gradient_is_that_of_torchjd(name, oracle, tolerance, settings, num_tasks) -> None:
    assert_gives(name, oracle, num_tasks, tolerance, **settings)


@pytest.mark.parametrize('num_tasks', [2, 3])
def test_gradvac_is_torchjds_over_many_steps(num_tasks) -> None:
    weighting = build_weighting('gradvac', TASKS[:num_tasks], beta=0.3, normalise=False)
    oracle = aggregation.GradVac(beta=0.3)
    turned = 0
    for step in range(12):
        # First alike, so that the targets rise, then not.
        rows = rows_of(num_tasks, step, 0.0) + (2.0 if step < 6 else 0.0)
        torch.manual_seed(step)
        expected = oracle(rows)
        torch.manual_seed(step)
        if num_tasks == 2:  # nothing is drawn where there is nothing to choose from
            state = torch.get_rng_state()
        found, weights = combine('gradvac', rows, weighting)
        if num_tasks == 2:
            assert torch.equal(state, torch.get_rng_state())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        turned += bool((weights > 1 + 1e-6).any())
    assert turned > 3
    assert float(weighting.targets.abs().max()) > 0.1


@pytest.mark.parametrize('leak', [0.0, 0.3, 1.0])
def test_graddrop_is_torchjds_with_the_same_draws(leak) -> None:
    for num_tasks, seed in product((2, 3), range(4)):
        rows = rows_of(num_tasks, seed)
        torch.manual_seed(seed)
        found, weights = combine('graddrop', rows, leak=leak)
        torch.manual_seed(seed)
        torch.manual_seed(int(torch.randint(2**62, (1,))))
        expected = aggregation.GradDrop(leak=torch.full((num_tasks,), leak))(rows)
        torch.testing.assert_close(found, expected)
        assert weights.tolist() == [1.0] * num_tasks


def test_excess_mtl_is_torchjds_over_many_steps() -> None:
    weighting = build_weighting('excess_mtl', TASKS, step_size=0.4, warmup=2, normalise=False)
    oracle = aggregation.ExcessMTL(robust_step_size=0.4, n_warmup_steps=2)
    for step in range(8):
        rows = rows_of(3, step) * torch.tensor([1.0, 1.0 + 2 * step, 1.0])[:, None]
        expected = oracle(rows)
        found, weights = combine('excess_mtl', rows, weighting)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert float(weights[1]) > 0.5 > float(weights[0])


# -- Brute force and defining equations --------------------------------------------------------


@pytest.mark.parametrize('num_tasks', [2, 3])
def test_mgda_is_the_shortest_vector_of_the_convex_hull(num_tasks) -> None:
    grid = simplex(num_tasks, 100)
    for rows in jacobians(num_tasks):
        gradient, weights = plain('mgda', rows)
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
        lengths = (grid @ rows.double()).norm(dim=1)
        assert float(lengths.min()) * 0.99 <= float(gradient.norm()) <= float(lengths.min()) + 1e-5


@pytest.mark.parametrize('num_tasks', [2, 3])
def test_cagrad_serves_the_worst_task_best_within_the_ball(num_tasks) -> None:
    grid = simplex(num_tasks, 100)
    for rows, c in product(jacobians(num_tasks), (0.2, 0.9)):
        gradient, _ = plain('cagrad', rows, c=c)
        rows = rows.double()
        mean = rows.mean(0)
        radius = c * mean.norm()
        assert float((gradient - mean).norm()) <= float(radius) * (1 + 1e-4)
        # Strong duality: the least progress equals the least value of the dual, on a fine grid.
        dual = (grid @ rows @ mean + radius * (grid @ rows).norm(dim=1)).min()
        assert float((rows @ gradient.double()).min()) == pytest.approx(float(dual), rel=0.03)


@pytest.mark.parametrize('num_tasks', [2, 3])
@pytest.mark.parametrize(
    'name, settings, power',
    [('nash_mtl', {}, 1), ('fairgrad', {'alpha': 1}, 1), ('fairgrad', {'alpha': 0.5}, 2)]
    + [('fairgrad', {'alpha': alpha}, 1 / alpha) for alpha in (2, 10)],
)
def test_bargaining_solves_its_equation(name, settings, power, num_tasks) -> None:
    for rows, scale in product(jacobians(num_tasks), (1.0, 1e-3, 1e3)):
        gradient, weights = plain(name, rows * scale, **settings)
        progress = rows * scale @ gradient
        torch.testing.assert_close(progress, weights**-power, rtol=2e-3, atol=0)


def test_nash_with_unlike_norms_is_still_solved() -> None:
    for num_tasks in (2, 3):
        rows = rows_of(num_tasks, 0, 0.7) * torch.tensor([1e-6, 1.0, 1e4])[:num_tasks, None]
        gradient, weights = plain('nash_mtl', rows)
        torch.testing.assert_close(
            rows @ gradient * weights, torch.ones(num_tasks), rtol=1e-2, atol=0
        )


@pytest.mark.parametrize('num_tasks', [2, 3])
def test_imtl_g_projects_equally_and_no_task_gets_worse(num_tasks) -> None:
    for rows in jacobians(num_tasks):
        gradient, _ = plain('imtl_g', rows)
        projections = rows @ gradient / rows.norm(dim=1)
        torch.testing.assert_close(
            projections, projections[:1].expand(num_tasks), rtol=1e-3, atol=1e-4
        )
        assert float(projections[0]) > 0


def test_imtl_g_goes_down_where_the_published_weights_sum_to_less_than_zero() -> None:
    rows = torch.tensor([[-1.0, -0.9, 1.8], [0.9, 1.1, 2.2], [0.0, 0.5, 1.5]])
    assert float((rows @ aggregation.IMTLG()(rows)).max()) < 0
    for normalise in (True, False):
        gradient, _ = combine('imtl_g', rows, normalise=normalise)
        assert float((rows @ gradient).min()) > 0


@pytest.mark.parametrize('num_tasks', [2, 3])
def test_config_has_one_angle_to_all_gradients(num_tasks) -> None:
    for rows in jacobians(num_tasks):
        gradient, _ = plain('config', rows)
        cosines = rows @ gradient / rows.norm(dim=1) / gradient.norm()
        torch.testing.assert_close(cosines, cosines[:1].expand(num_tasks), rtol=1e-3, atol=1e-4)
        assert float(gradient.norm()) == pytest.approx(
            float((rows @ gradient).sum() / gradient.norm()), rel=1e-3
        )


def test_aligned_mtl_sums_orthogonal_gradients_of_one_length() -> None:
    for rows in jacobians(3):
        gradient, _ = plain('aligned_mtl', rows)
        u, sizes, v = torch.linalg.svd(rows.double(), full_matrices=False)
        expected = (u @ v).mean(0) * sizes[-1]
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-4)


def test_values_by_hand_of_two_conflicting_tasks() -> None:
    rows = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])  # inner product -2, squares 4 and 2
    expected = {
        'pcgrad': [1.5, 2.0],
        'upgrad': [0.75, 1.0],
        'mgda': [0.4, 0.6],
        'imtl_g': [2**-0.5 / (1 + 2**-0.5), 1 / (1 + 2**-0.5)],
        # cos = -1 / sqrt 2
        'nash_mtl': [0.5 / (1 - 2**-0.5) ** 0.5, 2**-0.5 / (1 - 2**-0.5) ** 0.5],
    }
    for name, weights in expected.items():
        torch.testing.assert_close(plain(name, rows)[1], torch.tensor(weights), msg=name)
        normalised = torch.tensor(weights) * 2 / sum(weights)
        torch.testing.assert_close(combine(name, rows)[1], normalised, msg=name)


# -- Silent failures ---------------------------------------------------------------------------


@pytest.mark.parametrize('num_tasks', [2, 3])
@pytest.mark.parametrize('trace', [1e-8, 1e-12, 1e-40, 1e12])
@pytest.mark.parametrize('name', SOLVERS)
def test_the_size_of_the_gradients_changes_no_weight(name, trace, num_tasks) -> None:
    rows = rows_of(num_tasks, 0, 0.7)
    small = rows * float((trace / rows.square().sum()) ** 0.5) if trace > 1e-38 else rows * 1e-20
    torch.manual_seed(0)
    _, expected = combine(name, rows)
    torch.manual_seed(0)
    gradient, weights = combine(name, small)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)
    # Neither zero nor a plain mean: these gradients conflict.
    assert float(gradient.norm() / small.norm()) > 1e-3
    assert float((weights - weights[0]).abs().max()) > 1e-2


@pytest.mark.parametrize('name', [*SOLVERS, *STATEFUL, 'graddrop'])
@pytest.mark.parametrize(
    'rows',
    [
        [[1.0, 0.0], [-1.0, 0.0]],
        [[1.0, 2.0], [-3.0, -6.0]],
        [[1.0, 2.0], [1.0, 2.0]],
        [[1.0, 2.0], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]],
        [[1.0, 2.0], [-3.0, -6.0], [-1.0, -2.0]],
        [[1.0, 2.0], [3.0, 6.0], [1e-12, 2e-12]],
        [[1.0, 2.0], [0.0, 0.0], [0.0, 1.0]],
        [[1e-25, 0.0], [0.0, 1.0], [1e15, 1.0]],
    ],
    ids=str,
)
def test_degenerate_gradients_give_finite_weights_and_no_ascent(name, rows) -> None:
    rows = torch.tensor(rows)
    gradient, weights = combine(name, rows)
    assert torch.isfinite(weights).all()
    assert torch.isfinite(gradient).all()
    assert float(weights.abs().max()) > 0
    assert float(gradient @ rows.sum(0)) >= -1e-5 * float(rows.norm() ** 2)


@pytest.mark.parametrize('name', SOLVERS)
def test_a_gradient_of_zero_stops_no_other_task(name) -> None:
    rows = rows_of(3, 1, 0.7)
    rows[2] = 0
    gradient, weights = combine(name, rows)
    expected, pair = combine(name, rows[:2])
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(weights, torch.cat([pair, torch.ones(1)]))
    alone, weights = combine(name, rows * torch.tensor([0, 1, 0])[:, None])
    torch.testing.assert_close(alone, rows[1])
    assert weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize('name', STATEFUL)
def test_a_gradient_that_stays_zero_stops_no_other_task(name) -> None:
    dead = torch.tensor([1, 1, 0])[:, None]
    start, late, pair = (build_weighting(name, TASKS[:k]) for k in (3, 3, 2))
    for step in range(200):
        rows = rows_of(3, step, 0.7)
        expected, weights = combine(name, rows[:2], pair)
        # As if it were not there.
        gradient, found = combine(name, rows * dead, start)
        torch.testing.assert_close(gradient, expected)
        torch.testing.assert_close(found, torch.cat([weights, torch.ones(1)]))
        # One that ends on the way, after which the others soon go on as they would.
        gradient, found = combine(name, rows if step < 20 else rows * dead, late)
        if step >= 20:
            assert found[2] == 1
            assert float(found.sum()) == pytest.approx(3, rel=1e-5)
            assert float(found[:2].min()) > 0.01 or name == 'moco'
            assert float(gradient.norm()) > 0.1
    _, weights = combine(name, rows * torch.tensor([0, 1, 0])[:, None], late)
    torch.testing.assert_close(weights, torch.ones(3))
    gradient, weights = combine(name, rows * 0, late)
    assert not gradient.any()
    assert weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize('name', NORMALISED)
def test_positive_weights_sum_to_the_number_of_tasks(name) -> None:
    for num_tasks in (2, 3):
        for rows in jacobians(num_tasks):
            _, weights = combine(name, rows)
            if float(weights.min()) > 0:
                assert float(weights.sum()) == pytest.approx(num_tasks, rel=1e-5)


def test_graddrop_takes_one_sign_per_element_and_its_mean_is_known() -> None:
    rows = torch.tensor([[3.0], [-1.0]]).repeat(1, 4000)
    torch.manual_seed(0)
    gradient, _ = combine('graddrop', rows)
    assert set(gradient.tolist()) == {3.0, -1.0}
    # Positive with probability (1 + 2 / 4) / 2.
    assert float((gradient > 0).float().mean()) == pytest.approx(0.75, abs=0.03)


# -- State -------------------------------------------------------------------------------------


def test_moco_tracks_the_gradients_and_moves_its_weights_by_hand() -> None:
    settings = {'beta': 0.25, 'gamma': 0.5, 'rho': 0.1, 'gamma_decay': 0}
    weighting = build_weighting('moco', TASKS[:2], normalise=False, **settings)
    first, second = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    # Gramian diag(4, 1) over its mean diagonal 2.5, at lambda (0.5, 0.5): slopes 0.85 and 0.25.
    gradient, weights = combine('moco', first, weighting)
    torch.testing.assert_close(weights, torch.tensor([0.35, 0.65]))
    torch.testing.assert_close(gradient, torch.tensor([0.7, 0.65]))
    tracked = torch.tensor([[1.5, 0.5], [0.5, 0.75]])
    gradient, weights = combine('moco', second, weighting)
    torch.testing.assert_close(weighting.tracked, tracked)
    gram = tracked @ tracked.T
    slopes = gram @ torch.tensor([0.35, 0.65]) / gram.diagonal().mean() + 0.1 * torch.tensor(
        [0.35, 0.65]
    )
    moved = torch.tensor([0.35, 0.65]) - 0.5 * slopes
    expected = moved - (moved.sum() - 1) / 2
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(gradient, expected @ tracked)


def test_moco_with_constant_gradients_finds_the_weights_of_mgda() -> None:
    for num_tasks in (2, 3):
        rows = rows_of(num_tasks, 2, 0.7)
        weighting = build_weighting('moco', TASKS[:num_tasks], gamma_decay=0, normalise=False)
        for _ in range(400):
            _, weights = combine('moco', rows, weighting)
        torch.testing.assert_close(weights, plain('mgda', rows)[1], rtol=1e-2, atol=1e-2)


def test_the_steps_of_moco_decay() -> None:
    settings = {'beta': 0.5, 'gamma': 0.5, 'beta_decay': 1.0, 'gamma_decay': 2.0}
    weighting = build_weighting('moco', TASKS[:2], normalise=False, **settings)
    tracked, simplex = torch.zeros(2, 12), torch.full((2,), 0.5)
    for step in range(1, 5):
        rows = rows_of(2, step)
        # The first gradient starts the tracking: its steps are counted from the second on.
        tracked = rows if step == 1 else tracked + 0.5 / (step - 1) * (rows - tracked)
        gram = tracked @ tracked.T
        moved = simplex - 0.5 / step**2 * (gram @ simplex) / gram.diagonal().mean()
        simplex = (moved - (moved.sum() - 1) / 2).clamp(0, 1)  # the simplex of two
        gradient, weights = combine('moco', rows, weighting)
        torch.testing.assert_close(weighting.tracked, tracked)
        torch.testing.assert_close(weights, simplex)
        torch.testing.assert_close(gradient, simplex @ tracked)


def test_moco_starts_anew_where_all_of_lambda_is_with_an_absent_task() -> None:
    weighting = build_weighting('moco', TASKS, normalise=False)
    weighting.simplex.copy_(torch.tensor([1.0, 0.0, 0.0]))
    rows = rows_of(3, 2, 0.7)
    rows[0] = 0
    for _ in range(400):
        _, weights = combine('moco', rows, weighting)
    assert weights[0] == 1
    torch.testing.assert_close(weights[1:], plain('mgda', rows[1:])[1], rtol=0, atol=0.05)


def test_db_mtl_brings_gradients_of_log_losses_to_one_norm() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # The losses are 1 and 2: log gradients of norms 3 and 0.5, scaled to 3.
    gradient, weights = plain('db_mtl', rows)
    torch.testing.assert_close(gradient, torch.tensor([3.0, 3.0]))
    torch.testing.assert_close(weights, torch.tensor([1.0, 3.0]))
    gradient, weights = combine('db_mtl', rows)
    torch.testing.assert_close(gradient, torch.tensor([1.5, 1.5]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.5]))


def test_db_mtl_averages_over_steps_and_the_past_counts_ever_less() -> None:
    weighting = build_weighting('db_mtl', TASKS[:1], beta=0.8, decay=1.0, normalise=False)
    expected = torch.zeros(2)
    for step in range(1, 5):
        row = torch.tensor([[1.0, float(step)]])
        past = 0 if step == 1 else 0.8 / step
        expected = past * expected + (1 - past) * row[0]
        found, _ = combine('db_mtl', row, weighting)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('name', STATEFUL)
def test_state_of_other_shared_parameters_is_refused(name) -> None:
    weighting = build_weighting(name, TASKS[:2])
    combine(name, rows_of(2, 0), weighting)
    with pytest.raises(ValueError, match='must be for 5 shared parameters, got 12'):
        combine(name, rows_of(2, 0)[:, :5], weighting)


# -- Parts and settings ------------------------------------------------------------------------


@pytest.mark.parametrize('scale', [1.0, 1e-18, 1e-30, 1e18])
def test_the_gramian_is_exact_however_small_the_gradients(scale) -> None:
    rows = torch.randn(3, 1001, generator=torch.Generator().manual_seed(0)) * scale
    rows[1] *= 1e-6
    exact = rows.double() @ rows.double().T
    size = exact.diagonal().sqrt()
    error = (gramian(rows) - exact).abs() / torch.outer(size, size)
    assert float(error.max()) < 1e-6


@pytest.mark.parametrize(
    'name, setting, value, rule',
    [
        ('cagrad', 'c', -0.1, r'c must be in \[0, inf\), got -0.1'),
        ('fairgrad', 'alpha', 0, r'alpha must be in \[0.1, 100\), got 0'),
        ('gradvac', 'beta', 1.0, r'beta must be in \[0, 1\), got 1.0'),
        ('graddrop', 'leak', 1.5, r'leak must be in \[0, 1\), got 1.5'),
        (
            'aligned_mtl',
            'scale_mode',
            'max',
            "scale_mode must be one of min, median, rmse, got 'max'",
        ),
        ('excess_mtl', 'step_size', 0, r'step_size must be in \(0, inf\), got 0'),
        ('excess_mtl', 'warmup', -1, r'warmup must be in \[0, inf\), got -1'),
        ('db_mtl', 'beta', 1, r'beta must be in \[0, 1\), got 1'),
        ('db_mtl', 'decay', -1, r'decay must be in \[0, inf\), got -1'),
        ('moco', 'beta', 0, r'beta must be in \(0, 1\), got 0'),
        ('moco', 'gamma', 0, r'gamma must be in \(0, inf\), got 0'),
        ('moco', 'beta_decay', -1, r'beta_decay must be in \[0, inf\), got -1'),
        ('moco', 'gamma_decay', -1, r'gamma_decay must be in \[0, inf\), got -1'),
        ('moco', 'rho', float('nan'), r'rho must be in \[0, inf\), got nan'),
    ],
)
def test_settings_out_of_range_are_refused(name, setting, value, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        build_weighting(name, TASKS, **{setting: value})


def test_weights_of_a_gramian_need_no_solver_state() -> None:
    weighting = build_weighting('pcgrad', TASKS)
    assert isinstance(weighting, GramianWeighting)
    gram = torch.tensor([[4.0, -2.0], [-2.0, 2.0]], dtype=torch.float64)
    expected = torch.tensor([1.5, 2.0], dtype=torch.float64) * 2 / 3.5
    torch.testing.assert_close(weighting.weigh(gram, torch.tensor([0, 2])), expected)


def test_each_task_has_a_backward_pass_of_its_own_graph() -> None:
    shared, own = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    indices = torch.zeros(1, dtype=torch.int64)
    losses = {
        'a': TaskLoss((shared * own).sum()[None], indices),
        'b': TaskLoss((3 * shared).sum()[None], indices),
    }
    calls = []

    def backward(loss: Tensor) -> None:
        calls.append(loss)
        loss.backward()

    context = StepContext(backward, (shared,), (shared, own))
    assert task_gradients(losses, context).tolist() == [[1, 1], [3, 3]]
    assert len(calls) == 2
    assert shared.grad is None
    assert own.grad.tolist() == [1, 1]  # plain
