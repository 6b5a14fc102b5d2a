"""Instance-level task parameters: their fixed points, their sparse updates, several processes."""

import math

from mtl_training.run_state import load_module, load_state, RunState, save_state
from mtl_training.weighting import build_weighting, StepContext, TaskLoss
import pytest
import torch

TASKS = ('x', 'y')
KINDS = ('classification', 'regression')


def build(num_samples: int = 6, tasks=TASKS, **settings):
    weighting = build_weighting('instance_level', tasks, **settings)
    weighting.prepare(dict.fromkeys(tasks, num_samples))
    return weighting


def visit(weighting, values, indices, kind: str = 'classification', task: str = 'x', **context):
    """Train on one batch of constant losses; return the gradient that each loss got."""
    leaves = torch.tensor(values, requires_grad=True)
    losses = {task: TaskLoss(leaves * 1, torch.tensor(indices), kind)}
    weighting.backward(losses, StepContext(torch.Tensor.backward, **context))
    return leaves.grad


def form(loss: float, s: torch.Tensor, kind: str, exact_nll: bool = False) -> torch.Tensor:
    if kind == 'classification':
        return loss * torch.exp(-s) + s
    return 0.5 * loss * torch.exp(-s) + (0.5 * s if exact_nll else s)


@pytest.mark.parametrize(
    'loss, kind, exact_nll, expected',
    [
        (2.0, 'classification', False, math.log(2)),
        (2.0, 'regression', False, 0.0),
        (2.0, 'regression', True, math.log(2)),
        (200.0, 'regression', False, 4.0),
        (200.0, 'classification', False, 4.0),
        (1e-3, 'classification', False, -4.0),
        (1e-3, 'regression', False, -4.0),
        (0.0, 'classification', False, -4.0),
    ],
)
def test_a_constant_loss_is_met_by_its_fixed_point(loss, kind, exact_nll, expected) -> None:
    weighting = build(exact_nll=exact_nll, table_rate=0.05)
    for _ in range(600):
        visit(weighting, [loss], [2], kind)
    assert float(weighting.log_variances('x')[2]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('exact_nll', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_steps_are_those_of_sgd_on_the_printed_loss(kind, exact_nll) -> None:
    generator = torch.Generator().manual_seed(0)
    weighting = build(table_rate=0.3, exact_nll=exact_nll)
    oracle = torch.zeros(6, requires_grad=True)
    # All rows are in every batch, so that plain SGD with momentum does the same.
    optimiser = torch.optim.SGD([oracle], lr=0.3, momentum=0.9)
    for _ in range(5):
        values = torch.rand(6, generator=generator) * 3
        order = torch.randperm(6, generator=generator)
        optimiser.zero_grad()
        rows = [form(float(values[i]), oracle[order[i]], kind, exact_nll) for i in range(6)]
        torch.stack(rows).mean().backward()
        scale = 0.5 if kind == 'regression' else 1.0
        expected = scale * torch.exp(-oracle.detach()[order]) / 6
        gradients = visit(weighting, values.tolist(), order.tolist(), kind)
        torch.testing.assert_close(gradients, expected)
        optimiser.step()
        torch.testing.assert_close(weighting.log_variances('x'), oracle.detach())


def test_rows_outside_the_batch_stay_bit_identical() -> None:
    weighting = build()
    visit(weighting, [3.0, 0.1, 2.0], [0, 1, 2])
    before = {name: value.clone() for name, value in weighting.state_dict().items()}
    visit(weighting, [1.7, 0.4], [1, 4])
    for name, value in weighting.state_dict().items():
        if name == 'scales':
            continue
        moved = (value != before[name]).nonzero().flatten().tolist()
        assert moved == ([1, 4] if name.startswith('tables.x') else []), name


def test_momentum_evolves_on_visits_alone() -> None:
    often, seldom = build(), build()
    for loss in (2.0, 0.5, 1.5):
        visit(often, [loss], [3])
        visit(seldom, [loss], [3])
        for _ in range(4):
            visit(seldom, [0.7], [5])
    for name in ('log_variances', 'velocities'):
        ours, theirs = (getattr(w.tables['x'], name)[3] for w in (often, seldom))
        assert torch.equal(ours, theirs)


def test_the_order_of_batches_does_not_matter_when_the_visits_of_each_row_are_the_same() -> None:
    one, two = build(), build()
    visits = [([1.0, 2.0], [0, 1]), ([3.0, 0.5], [2, 3]), ([0.2, 0.9], [0, 1])]
    for number in (0, 1, 2):
        visit(one, *visits[number])
    for number in (1, 0, 2):
        values, indices = visits[number]
        visit(two, values[::-1], indices[::-1])
    assert torch.equal(one.log_variances('x'), two.log_variances('x'))


def test_a_sample_that_is_twice_in_a_batch_moves_once_by_the_sum() -> None:
    weighting = build(table_rate=1.0)
    visit(weighting, [3.0, 2.0, 1.5], [4, 4, 0])
    # From s = 0 the gradient is (1 - l) / B each.
    assert float(weighting.log_variances('x')[4]) == pytest.approx((2.0 + 1.0) / 3)
    assert float(weighting.log_variances('x')[0]) == pytest.approx(0.5 / 3)


def test_rows_stay_within_the_bound_and_come_back_from_it() -> None:
    weighting = build(bound=1.5)
    for _ in range(3):
        visit(weighting, [500.0, 0.0], [0, 1])
    assert weighting.log_variances('x')[:2].tolist() == [1.5, -1.5]
    for _ in range(200):
        visit(weighting, [1.0, 1.0], [0, 1])
    assert weighting.log_variances('x')[:2].abs().max() < 0.2


def test_equal_tables_of_zeros_are_equal_weighting() -> None:
    ours = visit(build(), [1.0, 2.0, 3.0], [0, 1, 2])
    torch.testing.assert_close(ours, torch.full((3,), 1 / 3))


def test_weights_are_the_mean_scale_of_the_last_batch() -> None:
    weighting = build(table_rate=1.0)
    assert weighting.weights() == {'x': 1.0, 'y': 1.0}
    visit(weighting, [3.0, 2.0], [0, 1])
    visit(weighting, [3.0, 2.0], [0, 1])
    scale = pytest.approx((math.exp(-1) + math.exp(-0.5)) / 2)
    assert weighting.weights() == {'x': scale, 'y': 1.0}
    visit(weighting, [3.0], [0], task='y')
    assert weighting.weights() == {'x': scale, 'y': 1.0}


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_gradients_that_are_not_finite_leave_the_tables_alone(bad) -> None:
    weighting = build()
    parameter = torch.nn.Parameter(torch.zeros(()))
    parameter.grad = torch.tensor(bad)
    visit(weighting, [3.0], [0], parameters=(parameter,))
    assert not weighting.log_variances('x').any()
    parameter.grad = torch.tensor(1.0)
    visit(weighting, [3.0], [0], parameters=(parameter,))
    assert weighting.log_variances('x')[0] > 0


def test_two_processes_make_the_update_of_one_with_both_batches() -> None:
    alone, pair = build(), [build(), build()]
    for values, indices in (
        ([3.0, 0.1, 2.0, 1.1], [0, 1, 2, 3]),
        ([2.0, 0.3, 1.0, 4.0], [2, 0, 0, 5]),
    ):
        expected = visit(alone, values, indices)
        rows = {torch.float32: torch.tensor(values), torch.int64: torch.tensor(indices)}
        shares = [
            visit(
                weighting,
                values[part],
                indices[part],
                gather=lambda own, rows=rows: rows[own.dtype],
            )
            for weighting, part in zip(pair, (slice(0, 2), slice(2, 4)))
        ]
        # The mean over the processes of gradients of their own samples.
        torch.testing.assert_close(torch.cat(shares) / 2, expected)
        for weighting in pair:
            assert torch.equal(weighting.log_variances('x'), alone.log_variances('x'))


def test_a_process_with_gradients_that_are_not_finite_stops_the_update_of_all() -> None:
    weighting = build()
    parameter = torch.nn.Parameter(torch.zeros(()))
    parameter.grad = torch.tensor(1.0)
    visit(weighting, [3.0], [0], parameters=(parameter,), reduce=lambda own: (own + 0) / 2)
    assert not weighting.log_variances('x').any()


def test_a_resumed_table_goes_on_exactly(tmp_path) -> None:
    whole, first, second = build(), build(), build()
    batches = [([3.0, 0.1], [0, 5]), ([2.0, 1.2], [5, 0]), ([0.3, 2.0], [2, 0])]
    for batch in batches:
        visit(whole, *batch)
    visit(first, *batches[0])
    save_state(tmp_path / 'state', RunState(1, {}, {'weighting': first.state_dict()}))
    load_module(second, load_state(tmp_path / 'state').modules['weighting'], 'weighting')
    for batch in batches[1:]:
        visit(second, *batch)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_a_table_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r'does not fit the weighting: .*size mismatch'):
        load_module(build(6), build(7).state_dict(), 'weighting')


def test_tables_stay_on_the_host_or_follow_the_losses() -> None:
    # A device without memory stands for an accelerator.
    assert build(device='cpu').to('meta').log_variances('x').device.type == 'cpu'
    assert build().to('meta').log_variances('x').device.type == 'meta'
    host, auto = build(device='cpu'), build()
    for weighting in (host, auto):
        visit(weighting, [3.0, 0.1], [0, 5])
    assert torch.equal(host.log_variances('x'), auto.log_variances('x'))


def test_the_tables_are_no_parameters() -> None:
    weighting = build()
    assert not list(weighting.parameters())
    assert len(weighting.state_dict()) == 2 * len(TASKS) + 1


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'table_rate': 0}, r'table_rate must be positive and finite, got 0'),
        ({'table_rate': math.nan}, r'table_rate must be positive and finite, got nan'),
        ({'momentum': 1.0}, r'momentum must lie in \[0, 1\), got 1.0'),
        ({'bound': 0}, r'bound must lie in \(0, 20\], got 0'),
        ({'device': 'gpu'}, r"device must be one of \('auto', 'cpu'\), got 'gpu'"),
    ],
)
def test_wrong_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_tasks_without_data_have_no_table() -> None:
    weighting = build_weighting('instance_level', TASKS)
    weighting.prepare({'y': 3})
    assert weighting.log_variances('y').shape == (3,)
    visit(weighting, [2.0], [1], task='y')
    with pytest.raises(ValueError, match="number of training samples of task 'x'"):
        weighting.log_variances('x')


def test_a_table_that_was_not_prepared_is_named() -> None:
    with pytest.raises(ValueError, match=r"training samples of task 'x': prepare\(\) comes first"):
        visit(build_weighting('instance_level', TASKS), [1.0], [0])
