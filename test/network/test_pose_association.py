"""Tests of :mod:`mtl_perception.network.pose.association`; oracles are SciPy and slow loops."""

import copy
from fractions import Fraction
import math
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.pose.association import (
    assign,
    AssociationConfig,
    joint_cells,
    joint_maps,
    PoseResidualNetwork,
    window_sums,
)
import pytest
from scipy.ndimage import gaussian_filter
import torch
from torch import nn, Tensor

SMALL = AssociationConfig(height=11, width=7, hidden=8, margin=0.25, window=3)
quarters = st.integers(-200, 600).map(lambda n: n / 4)


def random_cells(*shape: int) -> tuple[Tensor, Tensor]:
    cells = torch.randint(SMALL.height * SMALL.width, shape)
    return cells, torch.rand(shape) > 0.4


@settings(deadline=None, max_examples=100)
@given(point=st.tuples(quarters, quarters), low=st.tuples(quarters, quarters),
       sides=st.tuples(st.integers(1, 900), st.integers(1, 900)))  # fmt: skip
def test_cells_are_those_of_exact_arithmetic(
    point: tuple[float, float], low: tuple[float, float], sides: tuple[int, int]
) -> None:
    sides = tuple(side / 4 for side in sides)
    box = torch.tensor([*low, low[0] + sides[0], low[1] + sides[1]])
    cell, is_inside = joint_cells(torch.tensor(point), box, SMALL)
    expected, inside = [], True
    for p, first, side, count in zip(point, low, sides, (SMALL.width, SMALL.height)):
        place = Fraction(p - first) * count / math.ceil(side)
        expected.append(min(max(math.trunc(place), 0), count - 1))
        inside &= first - side / 4 <= p <= first + 1.25 * side
    assert cell.item() == expected[1] * SMALL.width + expected[0]
    assert is_inside.item() == inside


def test_the_cells_of_all_points_in_all_boxes_are_those_of_pairs() -> None:
    points, boxes = torch.rand(5, 2) * 60, torch.tensor([[0.0, 5, 30, 50], [20, 0, 60, 44]])
    cells, is_inside = joint_cells(points, boxes[:, None], SMALL)
    assert cells.shape == is_inside.shape == (2, 5)
    for i, box in enumerate(boxes):
        for k, point in enumerate(points):
            cell, inside = joint_cells(point, box, SMALL)
            assert (cells[i, k], is_inside[i, k]) == (cell, inside)


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_point_that_is_nowhere_lies_in_no_box_and_its_cell_exists(value: float) -> None:
    points = torch.tensor([[value, 5.0], [5.0, value], [value, value]])
    cells, is_inside = joint_cells(points, torch.tensor([0.0, 0, 20, 20]), SMALL)
    assert not is_inside.any()
    assert ((cells >= 0) & (cells < SMALL.height * SMALL.width)).all()


def test_a_box_without_a_size_has_cells() -> None:
    cells, _ = joint_cells(torch.rand(9, 2) * 9, torch.full((4,), 4.0), SMALL)
    assert ((cells >= 0) & (cells < SMALL.height * SMALL.width)).all()


@pytest.mark.parametrize('sigma', [0.7, 1.0, 2.0])
def test_maps_are_impulses_blurred_by_scipy(sigma: float) -> None:
    cells, counts = random_cells(2, 17, 4)
    cells[..., 3] = cells[..., 0]  # two points in a cell are one impulse
    maps = joint_maps(cells, counts, SMALL, sigma)
    assert maps.dtype == torch.float32
    for n in range(2):
        for j in range(17):
            impulses = torch.zeros(SMALL.height * SMALL.width)
            impulses[cells[n, j, counts[n, j]]] = 1.0
            expected = gaussian_filter(
                impulses.view(SMALL.height, SMALL.width).numpy(), sigma, mode='constant'
            )
            torch.testing.assert_close(maps[n, j], torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_an_impulse_far_from_the_border_keeps_its_sum_and_has_the_height_of_the_source() -> None:
    config = AssociationConfig()
    cells = torch.full((1, 17, 1), 28 * config.width + 18)
    for sigma, height in ((1.0, 0.159), (2.0, 0.040)):
        maps = joint_maps(cells, torch.ones_like(cells, dtype=torch.bool), config, sigma)
        torch.testing.assert_close(maps.sum((2, 3)), torch.ones(1, 17))
        torch.testing.assert_close(maps[0, 0, 28, 18].item(), height, atol=5e-4, rtol=0)


def test_without_points_maps_are_empty() -> None:
    nothing = joint_maps(torch.zeros(2, 17, 3).long(), torch.zeros(2, 17, 3).bool(), SMALL, 1.0)
    assert not nothing.any()
    assert joint_maps(*random_cells(0, 17, 3), SMALL, 1.0).shape == (0, 17, 11, 7)


@pytest.mark.parametrize('window', [1, 3, 15])
def test_window_sums_are_those_of_slow_loops(window: int) -> None:
    maps, (cells, _) = torch.rand(2, 17, SMALL.height, SMALL.width), random_cells(2, 17, 5)
    found = window_sums(maps, cells, window)
    reach = window // 2
    for n in range(2):
        for j in range(17):
            for k in range(5):
                y, x = divmod(cells[n, j, k].item(), SMALL.width)
                rows = slice(max(0, y - reach), y + reach + 1)
                columns = slice(max(0, x - reach), x + reach + 1)
                expected = maps[n, j, rows, columns].sum()
                torch.testing.assert_close(found[n, j, k], expected, atol=1e-4, rtol=1e-5)


def slow_assign(scores: Tensor) -> Tensor:
    """Go through the pairs of each joint from the best to the worst; of equals, first to last."""
    batch, people, joints, peaks = scores.shape
    chosen = torch.full((batch, people, joints), -1)
    for b in range(batch):
        for j in range(joints):
            pairs = [
                (-scores[b, n, j, k].item(), n, k) for n in range(people) for k in range(peaks)
            ]
            taken: set[int] = set()
            for score, n, k in sorted(pairs):
                if score < 0 and chosen[b, n, j] < 0 and k not in taken:
                    chosen[b, n, j] = k
                    taken.add(k)
    return chosen


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 3), st.integers(0, 5)),
    levels=st.sampled_from([1, 2, 4, 10**6]),
    seed=st.integers(0, 999),
)
def test_assigning_is_going_through_all_pairs_from_the_best_to_the_worst(
    shape: tuple[int, int, int, int], levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-1, levels + 1, shape, generator=generator) / levels
    before = scores.clone()
    chosen = assign(scores)
    assert torch.equal(chosen, slow_assign(scores))
    assert torch.equal(scores, before), 'what is given stays'
    for b in range(shape[0]):
        for j in range(shape[2]):
            used = chosen[b, :, j][chosen[b, :, j] >= 0].tolist()
            assert len(set(used)) == len(used), 'a peak belongs to one person at most'


def test_what_has_no_score_is_given_to_nobody() -> None:
    assert (assign(torch.zeros(2, 3, 17, 4)) == -1).all()
    assert (assign(-torch.rand(2, 3, 17, 4)) == -1).all()


def test_a_crowd_is_assigned_in_a_fraction_of_a_second() -> None:
    scores = torch.rand(1, 20, 17, 30)
    # The same order for all people is the longest there is: one pair is settled at a time.
    scores[0] = torch.rand(17, 30) + 1e-3 * torch.rand(20, 1, 1)
    seconds = []
    for _ in range(5):
        start = process_time()
        chosen = assign(scores)
        seconds.append(process_time() - start)
    assert (chosen >= 0).all()
    assert min(seconds) < 0.2


def test_it_has_the_parameters_of_the_paper() -> None:
    with torch.device('meta'):
        network = PoseResidualNetwork(AssociationConfig())
    assert sum(p.numel() for p in network.parameters()) == 71_273_952
    kinds = [type(layer) for layer in network.layers]
    dense = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds == [*dense, *dense, nn.Linear, nn.ReLU]


def test_the_probabilities_of_each_joint_sum_to_1() -> None:
    maps = torch.rand(3, 17, SMALL.height, SMALL.width)
    found = PoseResidualNetwork(SMALL).eval()(maps)
    assert found.shape == maps.shape
    torch.testing.assert_close(found.exp().sum((2, 3)), torch.ones(3, 17))


def test_a_global_softmax_sums_to_1_over_all_joints() -> None:
    config = AssociationConfig(height=11, width=7, hidden=8, softmax='global')
    found = PoseResidualNetwork(config).eval()(torch.rand(3, 17, 11, 7))
    torch.testing.assert_close(found.exp().sum((1, 2, 3)), torch.ones(3))
    assert (found.exp().sum((2, 3)) < 0.5).all()


@pytest.mark.parametrize('softmax', ['joint', 'global'])
def test_without_the_perceptron_it_is_the_softmax_of_its_input(softmax: str) -> None:
    config = AssociationConfig(height=11, width=7, hidden=8, softmax=softmax)
    network = PoseResidualNetwork(config).eval()
    last = network.layers[6]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    maps = torch.rand(3, 17, 11, 7)
    flat = maps.flatten(1 if softmax == 'global' else 2)
    torch.testing.assert_close(network(maps).exp(), flat.softmax(-1).view_as(maps))


def test_in_half_precision_the_probabilities_stay_float32() -> None:
    found = PoseResidualNetwork(SMALL).eval().bfloat16()(torch.rand(2, 17, 11, 7).bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum((2, 3)), torch.ones(2, 17))


@torch.no_grad()
@pytest.mark.parametrize('people', [0, 1, 5])
def test_deployed_it_says_the_same_with_weights_that_lie_by_column(people: int) -> None:
    network = PoseResidualNetwork(SMALL).eval()
    maps = torch.rand(people, 17, SMALL.height, SMALL.width)
    expected, state = network(maps), copy.deepcopy(network.state_dict())
    network.deploy()
    copied = copy.deepcopy(network).double().float()
    for deployed in (network, copied):
        torch.testing.assert_close(deployed(maps), expected)
        for name, values in deployed.state_dict().items():
            assert torch.equal(values, state[name])
        for layer in (deployed.layers[0], deployed.layers[3], deployed.layers[6]):
            assert layer.weight.t().is_contiguous()
    assert copied.bfloat16().layers[0].weight.is_contiguous(), 'half precision reads rows'
    assert copied.float().to('meta').layers[0].weight.is_contiguous(), 'another device, too'


@pytest.mark.parametrize(
    'settings_, match',
    [
        ({'height': 0}, 'height must be at least 1, got 0'),
        ({'width': -3}, 'width must be at least 1, got -3'),
        ({'hidden': 0}, 'hidden must be at least 1, got 0'),
        ({'window': 4}, 'window must be odd, got 4'),
        ({'dropout': 1.0}, r'dropout must lie in \[0, 1\), got 1.0'),
        ({'softmax': 'cell'}, r"softmax must be one of \('joint', 'global'\), got 'cell'"),
        ({'margin': -0.1}, r'margin must lie in \[0, 2\], got -0.1'),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        AssociationConfig(**settings_)  # type: ignore[arg-type]
