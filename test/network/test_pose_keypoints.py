"""Tests of :mod:`mtl_perception.network.pose.keypoints`."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.backbones.resnet2d import ResNet2d
from mtl_perception.network.pose.keypoints import (
    find_peaks,
    HEATMAP_STRIDE,
    KeypointBranch,
    KeypointConfig,
)
import pytest
import torch
from torch import nn, Tensor
from torch.nn.functional import conv2d, interpolate, pad, relu

SIGMA = 7.0  # pixels of the input, as the targets have it
SMALL = KeypointConfig(pyramid_channels=6, channels=4, smoothed_channels=5)
CHANNELS = (4, 8, 16, 32)


def painted(places: list[tuple[float, float]], height: int, width: int) -> Tensor:
    """Return one heatmap ``[1, 1, h, w]`` with a Gaussian at each place, the larger counting."""
    centres_x = torch.arange(width) * HEATMAP_STRIDE + (HEATMAP_STRIDE - 1) / 2
    centres_y = torch.arange(height) * HEATMAP_STRIDE + (HEATMAP_STRIDE - 1) / 2
    maps = [
        torch.exp(-((centres_x - x).square() + (centres_y - y).square()[:, None]) / (2 * SIGMA**2))
        for x, y in places
    ]
    return torch.stack(maps).amax(0)[None, None]


def slow_peaks(heatmap: Tensor, min_score: float) -> dict[tuple[int, int], float]:
    """Return the cells (x, y) and the values of the maxima of a map, going through all cells."""
    height, width = heatmap.shape
    rows = heatmap.tolist()
    found = {}
    for y in range(height):
        for x in range(width):

            def value(x: int, y: int) -> float:
                is_there = 0 <= x < width and 0 <= y < height
                return rows[y][x] if is_there else -math.inf

            centre = value(x, y)
            if (
                centre > min_score
                and centre > max(value(x - 1, y), value(x, y - 1))
                and centre >= max(value(x + 1, y), value(x, y + 1))
            ):
                found[x, y] = centre
    return found


@settings(deadline=None, max_examples=20)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    max_peaks=st.integers(1, 60),
    levels=st.sampled_from([3, 1000]),
    seed=st.integers(0, 99),
)
def test_peaks_are_those_of_a_slow_search(
    size: tuple[int, int], max_peaks: int, levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few levels make plateaus.
    heatmaps = torch.randint(levels, (2, 3, *size), generator=generator) / levels
    places, values = find_peaks(heatmaps, min_score=0.3, max_peaks=max_peaks)
    number = min(max_peaks, size[0] * size[1])
    assert places.shape == (2, 3, number, 2)
    assert places.isfinite().all()
    for b in range(2):
        for j in range(3):
            slow = slow_peaks(heatmaps[b, j], 0.3)
            expected = sorted(slow.values(), reverse=True)[:max_peaks]
            is_peak = values[b, j] > 0
            assert values[b, j, is_peak].tolist() == expected
            cells = (places[b, j, is_peak] - 1.5) / HEATMAP_STRIDE
            for cell, value in zip(cells.tolist(), expected):
                near = [k for k in slow if max(abs(k[0] - cell[0]), abs(k[1] - cell[1])) <= 0.501]
                assert value in [slow[k] for k in near]


@settings(deadline=None, max_examples=20)
@given(x=st.floats(6, 120), y=st.floats(6, 90))
def test_the_place_of_a_gaussian_is_found_within_its_cell(x: float, y: float) -> None:
    places, values = find_peaks(painted([(x, y)], 25, 33), min_score=0.1, max_peaks=3)
    assert (values[0, 0] > 0).tolist() == [True, False, False]
    torch.testing.assert_close(places[0, 0, 0], torch.tensor([x, y]), atol=0.05, rtol=0)


def test_two_people_have_two_peaks_and_the_higher_comes_first() -> None:
    heatmap = painted([(30.0, 40.0)], 25, 33)
    heatmap = torch.maximum(heatmap, 0.8 * painted([(61.5, 45.5)], 25, 33))
    places, values = find_peaks(heatmap, min_score=0.1, max_peaks=5)
    assert (values[0, 0] > 0).sum() == 2
    expected = torch.tensor([[30.0, 40.0], [61.5, 45.5]])
    torch.testing.assert_close(places[0, 0, :2], expected, atol=0.05, rtol=0)
    assert 0.7 < values[0, 0, 1] < 0.81 < 0.9 < values[0, 0, 0]


@pytest.mark.parametrize('x', [0.0, 1.5, 129.5, 131.0], ids='x={}'.format)
@pytest.mark.parametrize('y', [0.0, 50.0, 99.0], ids='y={}'.format)
def test_at_the_border_a_peak_stays_in_its_cell(x: float, y: float) -> None:
    places, values = find_peaks(painted([(x, y)], 25, 33), min_score=0.1, max_peaks=1)
    assert values[0, 0, 0] > 0.9
    assert (places[0, 0, 0] - torch.tensor([x, y])).abs().max() <= 1.5 + 1e-4


@pytest.mark.parametrize('cells', [(slice(4, 5), slice(2, 4)), (slice(4, 6), slice(2, 4))])
def test_a_plateau_has_one_peak_in_its_middle(cells: tuple[slice, slice]) -> None:
    heatmap = torch.full((1, 1, 9, 9), 0.2)
    heatmap[(0, 0, *cells)] = 0.7
    places, values = find_peaks(heatmap, min_score=0.3, max_peaks=4)
    assert (values > 0).sum() == 1
    middle = [(axis.start + axis.stop - 1) / 2 for axis in reversed(cells)]
    torch.testing.assert_close(places[0, 0, 0], torch.tensor(middle) * 4 + 1.5)


@pytest.mark.parametrize('value', [0.0, 0.1, -3.0])
def test_an_empty_map_has_no_peak(value: float) -> None:
    places, values = find_peaks(torch.full((1, 2, 4, 5), value), min_score=0.1, max_peaks=9)
    assert not values.any()
    assert places.isfinite().all()


def plain_peaks(heatmaps: Tensor, min_score: float, max_peaks: int) -> tuple[Tensor, Tensor]:
    """Return what :func:`find_peaks` does, comparing each map with its four neighbours."""
    around = pad(heatmaps, (1, 1, 1, 1), value=-math.inf)
    centre = around[..., 1:-1, 1:-1]
    left, right = around[..., 1:-1, :-2], around[..., 1:-1, 2:]
    up, down = around[..., :-2, 1:-1], around[..., 2:, 1:-1]
    is_peak = (centre > left) & (centre > up) & (centre >= right) & (centre >= down)
    scores = torch.where(is_peak & (centre > min_score), centre, 0.0).flatten(2)
    best, cells = scores.topk(min(max_peaks, scores.shape[2]), dim=2)

    def shift(before: Tensor, after: Tensor) -> Tensor:
        low, high = (x.flatten(2).gather(2, cells) for x in (before, after))
        low, high = low.where(low > -math.inf, high), high.where(high > -math.inf, low)
        low, middle, high = (x.clamp_min(1e-4).log() for x in (low, best, high))
        return ((low - high) / (2 * (low - 2 * middle + high).clamp_max(-1e-6))).clamp(-0.5, 0.5)

    width = heatmaps.shape[3]
    places = torch.stack([cells % width + shift(left, right), cells // width + shift(up, down)], 3)
    return HEATMAP_STRIDE * places + (HEATMAP_STRIDE - 1) / 2, best


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    levels=st.sampled_from([1, 3, 10**6]),
    seed=st.integers(0, 999),
)
def test_places_are_those_of_comparing_each_map_with_its_neighbours(
    size: tuple[int, int], levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmaps = torch.randint(-1, levels + 1, (2, 3, *size), generator=generator) / levels
    heatmaps[torch.rand(heatmaps.shape, generator=generator) < 0.05] = math.nan
    places, values = find_peaks(heatmaps, min_score=0.3, max_peaks=99)
    expected_places, expected = plain_peaks(heatmaps, 0.3, 99)
    assert torch.equal(values, expected)
    for found, plain, is_peak in zip(places.flatten(0, 1), expected_places.flatten(0, 1),
                                     (values > 0).flatten(0, 1)):  # fmt: skip
        # Peaks that are equally high come in any order.
        ours, theirs = (sorted(x[is_peak].nan_to_num(-1.0).tolist()) for x in (found, plain))
        assert ours == theirs


def test_peaks_move_with_the_map() -> None:
    heatmap = torch.rand(1, 1, 12, 12)
    heatmap[..., [0, 1, -2, -1], :] = 0
    heatmap[..., [0, 1, -2, -1]] = 0
    places, values = find_peaks(heatmap, min_score=0.1, max_peaks=50)
    moved, same = find_peaks(heatmap.roll((1, 1), (2, 3)), min_score=0.1, max_peaks=50)
    torch.testing.assert_close(values, same)
    is_peak = values > 0
    torch.testing.assert_close(places[is_peak] + HEATMAP_STRIDE, moved[is_peak])


def test_half_precision_finds_the_same_place_to_half_a_cell() -> None:
    heatmap = painted([(40.7, 33.1)], 25, 33)
    exact, _ = find_peaks(heatmap, min_score=0.1, max_peaks=1)
    rough, values = find_peaks(heatmap.bfloat16(), min_score=0.1, max_peaks=1)
    assert values.dtype == torch.float32
    assert (rough - exact).abs().max() <= 2


def test_the_maps_at_480_pixels_have_the_shapes_of_the_source() -> None:
    with torch.device('meta'):
        backbone = ResNet2d(50)
        branch = KeypointBranch(backbone.channels, KeypointConfig())
        output = branch(backbone(torch.zeros(1, 3, 480, 480)))
    assert output.heatmaps.shape == (1, 18, 120, 120)
    assert [tuple(x.shape) for x in output.intermediate] == [(1, 18, 120, 120)] * 4
    assert branch.smooth[0].weight.shape == (512, 512, 3, 3)
    assert branch.heatmaps.weight.shape == (18, 512, 1, 1)


def test_the_branch_is_that_of_the_paper_layer_by_layer() -> None:
    branch = KeypointBranch(CHANNELS, SMALL)
    for parameter in branch.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = branch.state_dict()

    def layer(name: str, x: Tensor) -> Tensor:
        weight = state[f'{name}.weight']
        return conv2d(x, weight, state[f'{name}.bias'], padding=weight.shape[2] // 2)

    maps = [torch.randn(2, c, 16 // 2**i, 24 // 2**i) for i, c in enumerate(CHANNELS)]
    pyramid = [layer(f'fpn.inner_blocks.{i}.0', x) for i, x in enumerate(maps)]
    for i in (2, 1, 0):
        pyramid[i] = pyramid[i] + interpolate(pyramid[i + 1], scale_factor=2)
    levels = [layer(f'fpn.layer_blocks.{i}.0', x) for i, x in enumerate(pyramid[:3])]
    levels.append(pyramid[3])
    filtered = [
        interpolate(layer(f'filters.{i}.1', layer(f'filters.{i}.0', x)), scale_factor=2**i)
        for i, x in enumerate(levels)
    ]
    heatmaps = layer('heatmaps', relu(layer('smooth.0', torch.cat(filtered, 1))))
    with torch.no_grad():
        output = branch(maps)
    torch.testing.assert_close(output.heatmaps, heatmaps)
    for i, found in enumerate(output.intermediate):
        alone = interpolate(layer(f'intermediate.{i}', levels[i]), scale_factor=2**i)
        torch.testing.assert_close(found, alone)


def test_the_gradient_reaches_every_layer_and_each_intermediate_head_only_its_own() -> None:
    branch = KeypointBranch(CHANNELS, SMALL)
    output = branch([torch.randn(1, c, 8 // 2**i, 8 // 2**i) for i, c in enumerate(CHANNELS)])
    output.heatmaps.square().sum().backward(retain_graph=True)
    assert all(p.grad is None for p in branch.intermediate.parameters())
    sum(x.square().sum() for x in output.intermediate).backward()
    for name, parameter in branch.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_a_deployed_branch_has_no_intermediate_heads_and_the_same_heatmaps() -> None:
    branch = KeypointBranch(CHANNELS, SMALL).eval()
    maps = [torch.randn(1, c, 8 // 2**i, 8 // 2**i) for i, c in enumerate(CHANNELS)]
    before = branch(maps)
    branch.deploy()
    assert not any('intermediate' in name for name in branch.state_dict())
    after = branch(maps)
    assert after.intermediate == ()
    assert torch.equal(after.heatmaps, before.heatmaps)


@pytest.mark.parametrize(
    'settings_, match',
    [
        ({'pyramid_channels': 0}, 'pyramid_channels must be at least 1, got 0'),
        ({'channels': 0}, 'channels must be at least 1, got 0'),
        ({'max_peaks': 0}, 'max_peaks must be at least 1, got 0'),
        ({'smoothed_channels': 0}, 'smoothed_channels must be positive, got 0'),
        ({'min_score': 0.0}, 'min_score must lie between 0 and 1, got 0.0'),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        KeypointConfig(**settings_)  # type: ignore[arg-type]
