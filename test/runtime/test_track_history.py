"""Sequences of poses: the nearest in time of each track, and nothing where there is none."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.network.clips import clip_times
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_perception.runtime.clip_buffer import OVERSAMPLING
from mtl_perception.runtime.track_history import TrackHistory
import numpy as np
import pytest

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND
NUM_KEYPOINTS = len(KEYPOINTS)


def pose(value: float) -> np.ndarray:
    """Return a pose that can be told from others; its last keypoint is missing."""
    keypoints = np.full((NUM_KEYPOINTS, 3), value, dtype=np.float32)
    keypoints[-1] = np.nan, np.nan, 0
    return keypoints


def append(history: TrackHistory, people: dict[str, float], stamp_ns: int) -> None:
    poses = [pose(value) for value in people.values()]
    keypoints = np.array(poses).reshape(-1, NUM_KEYPOINTS, 3)
    history.append(list(people), keypoints, stamp_ns)


def values(clips: np.ndarray) -> np.ndarray:
    """Return the value of each pose, NaN where absent, having checked that poses are whole."""
    absent = np.isnan(clips[..., 0, 0])
    np.testing.assert_array_equal(clips[absent][..., :2], np.nan)
    np.testing.assert_array_equal(clips[absent][..., 2], 0)
    for one in clips[~absent]:
        np.testing.assert_array_equal(one, pose(one[0, 0]))
    return clips[..., 0, 0]


def reference(
    frames: list[tuple[int, dict[str, float]]], track: str, times_ns: list[int], interval_ns: float
) -> list[float]:
    steps = [after - before for (before, _), (after, _) in pairwise(frames)]
    period_ns = float(np.median(steps)) if steps else 0.0
    wanted = []
    for time_ns in times_ns:
        nearest, value = float('inf'), float('nan')
        for stamp_ns, people in frames:
            if track in people and abs(stamp_ns - time_ns) < nearest:
                nearest, value = abs(stamp_ns - time_ns), people[track]
        wanted.append(value if nearest <= interval_ns / 2 + period_ns / 2 else float('nan'))
    return wanted


@given(
    num_frames=st.integers(1, 6),
    # In distances below which frames would be thinned: the ring reaches 1.5 lengths at most.
    steps=st.lists(st.sampled_from([1.0, 1.04, 1.6, 3.2, 20.0]), min_size=1, max_size=70),
    shown=st.lists(st.sets(st.sampled_from('abcd')), min_size=70, max_size=70),
    late_ms=st.integers(0, 300),
)
def test_sequences_are_those_of_a_plain_loop(
    num_frames: int, steps: list[float], shown: list[set[str]], late_ms: int
) -> None:
    seconds = 2.0
    history = TrackHistory(num_frames, seconds)
    frames: list[tuple[int, dict[str, float]]] = []
    stamp_ns = NOW
    spacing_ns = 1.5 * seconds * SECOND / (OVERSAMPLING * num_frames)
    for number, (step, tracks) in enumerate(zip(steps, shown)):
        stamp_ns += round(step * spacing_ns)
        frames.append((stamp_ns, {track: number + ord(track) / 256 for track in sorted(tracks)}))
        append(history, frames[-1][1], stamp_ns)
    asked, end_ns = ['b', 'z', '', 'd', 'a'], stamp_ns + late_ms * 1_000_000
    clips = history.clips(asked, end_ns)
    assert clips.shape == (5, num_frames, NUM_KEYPOINTS, 3)
    assert clips.dtype == np.float32
    interval_ns = seconds * SECOND / (num_frames - 1) if num_frames > 1 else 0.0
    times_ns = [end_ns + round(time * SECOND) for time in clip_times(0.0, seconds, num_frames)]
    held = frames[-(OVERSAMPLING * num_frames + 4) :]
    expected = [reference(held, track, times_ns, interval_ns) for track in asked]
    np.testing.assert_allclose(values(clips), expected, rtol=1e-6)


def test_a_sequence_ends_at_the_newest_pose_and_starts_at_the_oldest() -> None:
    history = TrackHistory(5, 2.0)
    for frame in range(100):
        append(history, {'a': frame}, NOW + frame * SECOND // 10)
    clips = history.clips(['a'], NOW + 99 * SECOND // 10)
    np.testing.assert_array_equal(values(clips), [[79, 84, 89, 94, 99]])


@pytest.mark.parametrize('rate', [3, 10, 30, 1000])
@pytest.mark.parametrize('num_frames', [2, 8])
def test_poses_are_as_near_as_the_rate_allows(rate: int, num_frames: int) -> None:
    history, seconds = TrackHistory(num_frames, 1.5), 1.5
    for frame in range(4 * rate + 1):
        append(history, {'a': frame / rate}, NOW + round(frame / rate * SECOND))
    away_sec = values(history.clips(['a'], NOW + 4 * SECOND))[0] - clip_times(
        4.0, seconds, num_frames
    )
    interval_sec = seconds / (num_frames - 1)
    # Frames are kept as close as 1.5 intervals / 8 at most, or as close as they came.
    assert np.abs(away_sec).max() <= max(0.5 / rate, interval_sec * 1.5 / OVERSAMPLING) + 1e-6
    assert away_sec[-1] == pytest.approx(0, abs=1e-6)


def test_a_young_track_is_absent_where_it_was_not_seen() -> None:
    history = TrackHistory(5, 2.0)
    for frame in range(31):
        append(
            history,
            {'old': frame} | ({'new': frame} if frame > 24 else {}),
            NOW + frame * SECOND // 10,
        )
    clips = history.clips(['new', 'old'], NOW + 3 * SECOND)
    np.testing.assert_array_equal(
        values(clips), [[np.nan, np.nan, np.nan, 25, 30], [10, 15, 20, 25, 30]]
    )


def test_one_frame_is_just_the_newest() -> None:
    history = TrackHistory(1, 1.0)
    for frame in range(20):
        append(history, {'a': frame, 'b': -frame}, NOW + frame * SECOND // 10)
        clips = history.clips(['b', 'a', 'c'], NOW + frame * SECOND // 10)
        np.testing.assert_array_equal(values(clips), [[-frame], [frame], [np.nan]])
    append(history, {}, NOW + 2 * SECOND)
    np.testing.assert_array_equal(values(history.clips(['a'], NOW + 2 * SECOND)), [[np.nan]])


def test_a_missing_keypoint_stays_missing() -> None:
    history = TrackHistory(2, 1.0)
    history.append(['a'], pose(3)[None], NOW)
    np.testing.assert_array_equal(history.clips(['a'], NOW)[0, -1], pose(3))


def test_what_has_no_id_is_not_remembered() -> None:
    history = TrackHistory(1, 1.0)
    history.append(['', 'a', ''], np.stack([pose(1), pose(2), pose(3)]), NOW)
    np.testing.assert_array_equal(values(history.clips(['a', ''], NOW)), [[2], [np.nan]])
    assert len(history) == 1


def test_the_same_stamp_again_adds_to_its_frame() -> None:
    history = TrackHistory(1, 1.0)
    append(history, {'a': 1, 'b': 2}, NOW)
    append(history, {'b': 3, 'c': 4}, NOW)
    np.testing.assert_array_equal(values(history.clips(['a', 'b', 'c'], NOW)), [[1], [3], [4]])


@pytest.mark.parametrize('step_ns', [-1, -SECOND, -NOW])
def test_a_step_back_forgets_all(step_ns: int) -> None:
    history = TrackHistory(3, 1.0)
    for frame in range(20):
        append(history, {'a': 1}, NOW + frame * SECOND // 10)
    stamp_ns = NOW + 19 * SECOND // 10 + step_ns
    append(history, {'b': 2}, stamp_ns)
    nan = np.nan
    np.testing.assert_array_equal(
        values(history.clips(['a', 'b'], stamp_ns)), [[nan] * 3, [nan, nan, 2]]
    )
    history.reset()
    assert len(history) == 0
    assert np.isnan(values(history.clips(['b'], stamp_ns))).all()


@pytest.mark.parametrize('rate', [5, 30, 200])
def test_memory_is_bounded_by_the_frames_of_the_ring(rate: int) -> None:
    history = TrackHistory(4, 1.0)
    frames_held = OVERSAMPLING * 4 + 4
    for frame in range(1000):
        append(history, {f'track_{frame}': 1, f'other_{frame}': 2}, NOW + frame * SECOND // rate)
        assert len(history) <= 2 * frames_held
    assert history._poses.shape[1] <= 4 * frames_held


def test_no_pose_passes_to_the_track_that_takes_over_its_place() -> None:
    history = TrackHistory(2, 1.0)
    for frame in range(200):
        append(history, {f'track_{frame // 3}': frame // 3}, NOW + frame * SECOND // 10)
        seen = values(history.clips([f'track_{frame // 3}'], NOW + frame * SECOND // 10))
        assert set(seen[~np.isnan(seen)]) == {frame // 3}


def test_keypoints_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r'keypoints must be \[2, 17, 3\], got \(1, 17, 3\)'):
        TrackHistory(2, 1.0).append(['a', 'b'], pose(1)[None], NOW)


def test_a_track_that_appears_twice_is_refused() -> None:
    with pytest.raises(ValueError, match='ids must differ from one another, got'):
        TrackHistory(2, 1.0).append(['a', 'a'], np.stack([pose(1), pose(2)]), NOW)


@pytest.mark.parametrize(('num_frames', 'seconds'), [(0, 1.0), (2, 0.0), (2, np.nan)])
def test_a_sequence_of_nothing_is_refused(num_frames: int, seconds: float) -> None:
    with pytest.raises(ValueError, match=r'must be (at least 1|positive), got'):
        TrackHistory(num_frames, seconds)
