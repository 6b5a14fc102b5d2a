"""Tests of :mod:`mtl_perception.network.clips`."""

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.network import clip_times
import numpy as np
import pytest


@given(
    end=st.floats(-1e9, 2e9),
    seconds=st.floats(1e-3, 1e3),
    num_frames=st.integers(2, 64),
)
def test_times_are_those_of_linspace(end: float, seconds: float, num_frames: int) -> None:
    times = clip_times(end, seconds, num_frames)
    np.testing.assert_allclose(times, np.linspace(end - seconds, end, num_frames), atol=1e-6)
    assert len(times) == num_frames
    assert times[-1] == end
    assert times == sorted(times)


def test_a_clip_of_one_frame_is_its_newest() -> None:
    assert clip_times(7.5, 2.0, 1) == [7.5]


def test_a_worked_example() -> None:
    assert clip_times(10.0, 2.0, 5) == [8.0, 8.5, 9.0, 9.5, 10.0]


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match='num_frames must be at least 1, got 0'):
        clip_times(0.0, 1.0, 0)


@pytest.mark.parametrize('seconds', [0.0, -1.0, float('nan')])
def test_a_clip_without_duration_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match='clip_seconds must be positive'):
        clip_times(0.0, seconds, 4)
