"""Rows of features of moments, against slow plain loops and values by hand."""

import logging

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.ego4d_rows import (
    FEATURE_SETS,
    FeatureSet,
    interval_rows,
    num_rows,
    report_empty,
    row_frames,
)
import numpy as np
import pytest

OMNIVORE = FEATURE_SETS['omnivore_video_swinl']
SETS = st.builds(
    FeatureSet, st.just('x'), window=st.integers(1, 40), stride=st.integers(1, 20), dim=st.just(3)
).filter(lambda features: features.stride <= features.window)


def test_a_last_window_is_moved_back_where_frames_remain() -> None:
    # The example of the documentation.
    assert row_frames(39, OMNIVORE).tolist() == [[0, 32], [7, 39]]


@pytest.mark.parametrize(
    ('num_frames', 'expected'), [(1, 1), (31, 1), (32, 1), (33, 2), (48, 2), (49, 3), (320, 19)]
)
def test_the_number_of_rows_is_as_documented(num_frames: int, expected: int) -> None:
    assert num_rows(num_frames, OMNIVORE) == expected


@given(num_frames=st.integers(1, 500), features=st.sampled_from(list(FEATURE_SETS.values())))
def test_the_number_of_rows_is_that_of_the_rule(num_frames: int, features: FeatureSet) -> None:
    rest = num_frames - features.window
    expected = 1 if rest < 0 else rest // features.stride + 1 + (rest % features.stride != 0)
    assert num_rows(num_frames, features) == expected


@given(num_frames=st.integers(1, 300), features=SETS)
def test_the_windows_cover_every_frame(num_frames: int, features: FeatureSet) -> None:
    frames = row_frames(num_frames, features)
    seen = {frame for start, stop in frames.tolist() for frame in range(start, stop)}
    assert seen == set(range(num_frames))
    assert set((frames[:, 1] - frames[:, 0]).tolist()) == {min(features.window, num_frames)}
    assert (frames[:-1, 0] == np.arange(len(frames) - 1) * features.stride).all()


@given(
    intervals=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=10),
    count=st.integers(1, 20),
    features=SETS,
)
def test_intervals_have_the_rows_from_their_start_to_their_end(
    intervals: list[tuple[int, int]], count: int, features: FeatureSet
) -> None:
    starts = [start for start, _ in intervals]
    ends = [start + length for start, length in intervals]
    rows = interval_rows(starts, ends, count, features)
    filled = rows.filled()
    assert not filled.is_empty.any()
    for i, (start, end) in enumerate(zip(starts, ends)):
        expected = list(range(count))[start // features.stride : end // features.stride]
        assert list(range(rows.first[i], rows.stop[i])) == expected
        assert rows.is_empty[i] == (not expected)
        one = [min(start // features.stride, count - 1)]
        assert list(range(filled.first[i], filled.stop[i])) == (expected or one)


def test_an_action_shorter_than_a_stride_has_no_row_and_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Within a stride; two rows; cut at the last row, 9; behind it.
    rows = interval_rows([33, 40, 150, 400], [47, 72, 500, 500], 10, OMNIVORE)
    assert list(zip(rows.first.tolist(), rows.stop.tolist())) == [
        (2, 2),
        (2, 4),
        (9, 10),
        (10, 10),
    ]
    assert rows.is_empty.tolist() == [True, False, False, True]
    filled = rows.filled()
    assert list(zip(filled.first, filled.stop)) == [(2, 3), (2, 4), (9, 10), (9, 10)]
    with caplog.at_level(logging.WARNING):
        assert report_empty(rows, "actions of split 'val'") == 2
        assert report_empty(filled, 'others') == 0
    assert [record.message for record in caplog.records] == [
        "2 of 4 actions of split 'val' have no row of features: they are shorter than one stride "
        'or lie after the last row.'
    ]


def test_each_interval_may_be_of_its_own_video() -> None:
    rows = interval_rows([0, 0], [100, 100], [3, 5], OMNIVORE)
    assert rows.stop.tolist() == [3, 5]


@pytest.mark.parametrize(
    ('start', 'end', 'count'), [(-1, 5, 9), (6, 5, 9), (0, 5, 0)], ids=['start', 'end', 'rows']
)
def test_intervals_that_cannot_be_are_refused(start: int, end: int, count: int) -> None:
    with pytest.raises(ValueError, match=f'got {start}, {end} and {count} for interval 1'):
        interval_rows([0, start], [5, end], [9, count], OMNIVORE)


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match='num_frames must be at least 1, got 0'):
        num_rows(0, OMNIVORE)
