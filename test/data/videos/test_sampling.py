"""Which moments of a video become a clip."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.decoding import VideoFacts
from mtl_training.data.videos.reading import nearest_frames
from mtl_training.data.videos.sampling import sample_times
import numpy as np
import pytest

ENTRIES = st.builds(
    lambda first, count, rate: VideoFacts(first / rate, (first + count - 1) / rate, count),
    st.integers(0, 1000),
    st.integers(1, 400),
    st.sampled_from([1.0, 10.0, 25.0, 30000 / 1001, 60.0]),
)


def frame_times(facts: VideoFacts) -> np.ndarray:
    return np.linspace(facts.first_sec, facts.last_sec, facts.num_frames)


@given(
    ENTRIES,
    st.integers(1, 70),
    st.sampled_from(['clip', 'whole']),
    st.floats(0.1, 20),
    st.booleans(),
    st.integers(0, 9),
)
@settings(max_examples=300, deadline=None)
def test_as_many_times_as_wanted_ascend_within_the_entry(
    facts: VideoFacts, num: int, window: str, seconds: float, is_random: bool, seed: int
) -> None:
    random.seed(seed)
    times = sample_times(facts, num, window=window, clip_seconds=seconds, is_random=is_random)
    assert len(times) == num
    assert times == sorted(times)
    assert facts.first_sec <= times[0]
    assert times[-1] <= facts.last_sec
    if window == 'clip':
        assert times[-1] - times[0] <= seconds + 1e-9
    places = nearest_frames(frame_times(facts), times)
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] < facts.num_frames


@given(ENTRIES, st.integers(1, 70), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_whole_clip_has_a_frame_of_every_segment(
    facts: VideoFacts, num: int, is_random: bool
) -> None:
    times = sample_times(facts, num, window='whole', clip_seconds=1, is_random=is_random)
    places = nearest_frames(frame_times(facts), times)
    for i, place in enumerate(places):
        # Half a frame of room: a time between two frames may be either's.
        assert i * facts.num_frames / num - 1 <= place <= (i + 1) * facts.num_frames / num


def test_the_middle_of_each_segment_by_hand() -> None:
    facts = VideoFacts(2.0, 3.1, 12)  # 12 frames, 10 a second
    times = sample_times(facts, 3, window='whole', clip_seconds=1, is_random=False)
    # Segments of 4 frames, whose middles lie between their second and third.
    assert times == pytest.approx([2.15, 2.55, 2.95])
    times = sample_times(facts, 4, window='whole', clip_seconds=1, is_random=False)
    assert times == pytest.approx([2.1, 2.4, 2.7, 3.0])


def test_whole_clips_differ_from_draw_to_draw_and_windows_too() -> None:
    facts = VideoFacts(0.0, 9.9, 100)
    for window in ('clip', 'whole'):
        draws = {
            tuple(sample_times(facts, 4, window=window, clip_seconds=1, is_random=True))
            for _ in range(20)
        }
        assert len(draws) == 20


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True),
    st.lists(st.integers(-20, 10_020), min_size=1, max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_the_nearest_frames_are_those_that_a_search_of_all_finds(
    frames: list[int], times: list[int]
) -> None:
    ascending = np.array(sorted(frames), float)
    for time, place in zip(sorted(times), nearest_frames(ascending, sorted(times))):
        distances = np.abs(ascending - time)
        # Of two at the same distance, the later one, as when frames are decoded one by one.
        assert place == max(np.flatnonzero(distances == distances.min()))
