"""Tests of how videos are cut into windows."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.features.windows import resampled, WindowConfig, windows
import pytest

SIZES = st.integers(1, 40)


def test_the_last_window_ends_with_the_video() -> None:
    found = list(windows(range(39), WindowConfig()))
    assert found == [list(range(32)), list(range(7, 39))]


def test_windows_that_end_with_the_video_are_followed_by_none() -> None:
    assert [w[0] for w in windows(range(64), WindowConfig())] == [0, 16, 32]


def test_a_short_video_gives_one_window_of_all_its_frames() -> None:
    assert list(windows(range(3), WindowConfig(sampled=5))) == [[0, 1, 1, 2, 2]]


def test_no_frames_give_no_window() -> None:
    assert list(windows([], WindowConfig())) == []


@given(num_frames=SIZES, frames=SIZES, stride=SIZES, sampled=st.integers(1, 8))
def test_windows_are_those_of_the_formula(
    num_frames: int, frames: int, stride: int, sampled: int
) -> None:
    config = WindowConfig(frames=frames, stride=stride, sampled=sampled)
    found = list(windows(range(num_frames), config))
    assert len(found) == config.count(num_frames)
    for i, window in enumerate(found):
        # Back-padded: the window lies in the video where the video is long enough.
        first = max(0, min(i * stride, num_frames - frames))
        last = min(first + frames, num_frames) - 1
        assert len(window) == sampled
        assert window[-1] == last
        assert sampled == 1 or window[0] == first
        steps = [b - a for a, b in itertools.pairwise(window)]
        assert not steps or max(steps) - min(steps) <= 1


@given(
    gaps=st.lists(st.floats(0.001, 0.3), min_size=0, max_size=30),
    rate_hz=st.sampled_from([1.0, 7.5, 30.0]),
)
def test_each_moment_shows_the_nearest_frame(gaps: list[float], rate_hz: float) -> None:
    times = [0.0, *itertools.accumulate(gaps)]
    period = times[-1] / max(1, len(times) - 1) or 1 / rate_hz
    found = list(resampled(((t, t) for t in times), rate_hz, period))
    # As long as its last frame is shown, to the nearest moment; and all that begins before.
    assert abs(len(found) / rate_hz - (times[-1] + period)) <= max(period, 1 / rate_hz) + 1e-6
    assert (len(found) - 1) / rate_hz <= times[-1] + period
    for i, time in enumerate(found):
        nearest = min(abs(t - i / rate_hz) for t in times)
        assert abs(time - i / rate_hz) == pytest.approx(nearest, abs=2e-6)


@pytest.mark.parametrize('rate', [10, 15, 24, 25, 29.97, 30, 50, 60])
def test_four_seconds_have_the_same_windows_at_any_rate(rate: float) -> None:
    count = round(4 * rate)
    frames = list(resampled(((i / rate, i / rate) for i in range(count)), 30.0, 1 / rate))
    assert len(frames) == 120
    assert max(abs(time - i / 30) for i, time in enumerate(frames)) <= 1 / min(rate, 30) + 1e-6


def test_of_two_frames_at_the_same_distance_the_later_one_is_shown() -> None:
    assert list(resampled([(0.0, 'a'), (2.0, 'b')], 1.0, 1.0)) == ['a', 'b', 'b']


@pytest.mark.parametrize(
    'setting', [{'frames': 0}, {'stride': 0}, {'sampled': 0}, {'rate_hz': 0.0}]
)
def test_windows_that_make_no_sense_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        WindowConfig(**setting)
