"""Windows around changes of state, worked by hand."""

from made_up import change, MadeUpSource
from mtl_training.data.segments.changes import PointOfNoReturnWindows, StateChangeWindows
from mtl_training.data.segments.sampling import drawn_window, interpolated
import numpy as np
import pytest
import torch


def test_an_interval_is_seen_at_sorted_moments_in_groups() -> None:
    source = MadeUpSource(changes=[change(160, 400, 300), change(0, 32, None)])
    dataset = StateChangeWindows('oscc', source, num_nodes=2, num_features=3)
    assert dataset[0].features[..., 0].tolist() == [[10, 13, 16], [18, 21, 24]]
    assert [dataset[i].target.item() for i in range(2)] == [1, 0]
    assert dataset.labels == ('no_change', 'change')
    assert dataset.counts() == [1, 1]
    # Two rows for six moments: each is seen several times.
    assert dataset[1].features[..., 0].flatten().tolist() == [0, 0, 0, 1, 1, 1]


def test_moments_of_an_interval_are_drawn_each_once_where_there_are_enough() -> None:
    source = MadeUpSource(changes=[change(160, 400, None), change(0, 32, None)])
    dataset = StateChangeWindows('oscc', source, augment=True)
    for _ in range(30):
        rows = dataset[0].features[..., 0].flatten().tolist()
        assert rows == sorted(set(rows))
        assert set(rows) <= set(range(10, 25))
        assert set(dataset[1].features[..., 0].flatten().tolist()) <= {0, 1}


def test_nodes_see_what_lies_between_rows_and_the_target_is_the_nearest() -> None:
    # 8 s: a node each half second, 15 frames; row r has its middle at frame 16 r + 16.
    source = MadeUpSource(changes=[change(64, 304, 64 + 100)])
    sample = PointOfNoReturnWindows('pnr', source, num_features=2)[0]
    assert sample.features.shape == (16, 2, 2)
    places = [(64 + 15 * i - 16) / 16 for i in range(16)]
    np.testing.assert_allclose(sample.features[:, 0, 0], places, rtol=1e-6)
    torch.testing.assert_close(sample.features[:, 0], sample.features[:, 1])
    assert sample.target.item() == 7  # frame 105 of the interval, the others are 90 and 120
    np.testing.assert_allclose(sample.seconds, [8, 100 / 30], rtol=1e-6)


@pytest.mark.parametrize('moment', [64, 65, 150, 303, 304])
def test_drawn_windows_contain_the_point_of_no_return(moment: int) -> None:
    source = MadeUpSource(changes=[change(64, 304, moment)])
    dataset = PointOfNoReturnWindows('pnr', source, augment=True)
    lengths, moments = [], []
    for _ in range(80):
        sample = dataset[0]
        length, pnr = sample.seconds.tolist()
        assert 5 - 1e-4 <= length <= 8 + 1e-4
        assert -1e-4 <= pnr <= length + 1e-4
        node = min(15, int(pnr * 16 / length + 0.5))
        assert abs(sample.target.item() - node) <= 1
        # The first node is where the window starts, so the moment stays where it is.
        start = sample.features[0, 0, 0].item() * 16 + 16
        assert start + pnr * 30 == pytest.approx(moment, abs=0.01)
        lengths.append(length)
        moments.append(pnr)
    assert max(lengths) - min(lengths) > 2
    if moment == 150:  # 2.9 s of 8: windows of 5 s begin anywhere from 0 to 2.9 s
        assert max(moments) - min(moments) > 1.5


def test_windows_begin_anywhere_between_the_bounds() -> None:
    starts = [drawn_window(8.0, 4.0, 5.0, 5.0)[0] for _ in range(400)]
    assert min(starts) < 0.2
    assert 2.8 < max(starts) <= 3.0
    assert drawn_window(2.0, 1.0, 5.0, 8.0) == (0.0, 2.0)  # all of a shorter interval


def test_interpolation_equals_that_of_numpy_and_repeats_the_ends() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((7, 3))
    places = np.concatenate([rng.uniform(-3, 9, 40), [0, 3, 6]])
    expected = [np.interp(places, np.arange(7), column) for column in features.T]
    np.testing.assert_allclose(interpolated(features, places), np.stack(expected, 1), atol=1e-6)


def test_moments_outside_and_intervals_beyond_the_features_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = [change(0, 240, 100), change(0, 240, 400), change(500, 740, 600)]
    dataset = PointOfNoReturnWindows('pnr', MadeUpSource(changes=changes))
    assert len(dataset) == 2
    assert dataset[1].features[-1, 0, 0].item() == 39
    assert any(message.startswith('1 of 3 intervals') for message in caplog.messages)
    assert any('go on after the last row' in message for message in caplog.messages)


def test_data_without_points_of_no_return_and_impossible_windows_are_refused() -> None:
    with pytest.raises(ValueError, match='no interval with a point of no return'):
        PointOfNoReturnWindows('pnr', MadeUpSource(changes=[change(0, 240, None)]))
    with pytest.raises(ValueError, match=r'shortest and the longest window.*\(8.0, 5.0\)'):
        PointOfNoReturnWindows('pnr', MadeUpSource(), jitter_seconds=(8.0, 5.0))
