"""Temporal smoothing and the choice of labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.runtime.smoothing import Smoother, top_labels, TrackSmoother
import numpy as np
import pytest

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND
OLD, NEW = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def settle(smoother: Smoother, **settings: float) -> None:
    smoother.update(OLD, NOW, time_constant_sec=1.0, **settings)


def test_after_one_time_constant_the_old_weighs_one_over_e() -> None:
    smoother = Smoother()
    settle(smoother)
    smoothed = smoother.update(NEW, NOW + SECOND, time_constant_sec=1.0)
    np.testing.assert_allclose(smoothed, [np.exp(-1), 1 - np.exp(-1)])


@given(parts=st.integers(1, 50), duration_ns=st.integers(0, 5 * SECOND))
def test_it_does_not_matter_how_many_results_came(parts: int, duration_ns: int) -> None:
    smoother = Smoother()
    settle(smoother)
    for part in range(1, parts + 1):
        stamp_ns = NOW + duration_ns * part // parts
        smoothed = smoother.update(NEW, stamp_ns, time_constant_sec=1.0)
    np.testing.assert_allclose(smoothed[0], np.exp(-duration_ns / SECOND), atol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, SECOND)), min_size=1))
def test_probabilities_stay_probabilities(results: list[tuple[float, int]]) -> None:
    smoother, stamp_ns = Smoother(), NOW
    for value, step_ns in results:
        stamp_ns += step_ns
        smoothed = smoother.update(np.array([value, 1 - value]), stamp_ns, time_constant_sec=0.5)
        assert smoothed.min() >= -1e-12
        assert smoothed.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ('stamp_ns', 'generation', 'time_constant_sec'),
    [(NOW + SECOND, 1, 1.0), (NOW - 1, 0, 1.0), (NOW + 1, 0, 0.0)],
    ids=['a new clip', 'a step back', 'no smoothing'],
)
def test_nothing_of_the_old_remains_after(
    stamp_ns: int, generation: int, time_constant_sec: float
) -> None:
    smoother = Smoother()
    settle(smoother)
    smoothed = smoother.update(
        NEW, stamp_ns, time_constant_sec=time_constant_sec, generation=generation
    )
    np.testing.assert_array_equal(smoothed, NEW)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('time_constant_sec', [0.0, 1.0])
def test_what_is_not_finite_is_refused_and_forgotten(bad: float, time_constant_sec: float) -> None:
    smoother, expected = Smoother(), Smoother()
    for one in (smoother, expected):
        one.update(OLD, NOW, time_constant_sec=time_constant_sec)
    with pytest.raises(ValueError, match='probabilities must be finite, got'):
        smoother.update(np.array([bad, 0.5]), NOW + SECOND, time_constant_sec=time_constant_sec)
    np.testing.assert_array_equal(
        smoother.update(NEW, NOW + 2 * SECOND, time_constant_sec=time_constant_sec),
        expected.update(NEW, NOW + 2 * SECOND, time_constant_sec=time_constant_sec),
    )


def test_what_was_given_is_left_alone() -> None:
    smoother, given_values = Smoother(), np.array([0.5, 0.5])
    smoother.update(given_values, NOW, time_constant_sec=1.0)
    smoother.update(NEW, NOW + SECOND, time_constant_sec=1.0)
    np.testing.assert_array_equal(given_values, [0.5, 0.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 30))
def test_the_best_labels_come_first(values: list[float], k: int) -> None:
    labels = [f'label_{i}' for i in range(len(values))]
    ranked = top_labels(np.array(values), labels, k)
    assert [score for _, score in ranked] == sorted(values, reverse=True)[:k]
    assert all(values[labels.index(label)] == score for label, score in ranked)


@given(
    steps=st.lists(
        st.tuples(st.sets(st.sampled_from('abcd')), st.integers(0, 3 * SECOND), st.floats(0, 1)),
        min_size=1,
        max_size=30,
    ),
    time_constant_sec=st.sampled_from([0.0, 0.05, 0.5, 2.0]),
)
def test_each_track_is_smoothed_as_if_it_were_alone(
    steps: list[tuple[set[str], int, float]], time_constant_sec: float
) -> None:
    together, alone, stamp_ns = TrackSmoother(), {track: Smoother() for track in 'abcd'}, NOW
    for number, (tracks, step_ns, value) in enumerate(steps):
        stamp_ns += step_ns
        ids = sorted(tracks, reverse=number % 2 == 0)
        given_values = np.array([[value, ord(track) / 256] for track in ids]).reshape(-1, 2)
        smoothed = together.update(
            ids, given_values, stamp_ns, time_constant_sec=time_constant_sec
        )
        expected = [
            alone[track].update(row, stamp_ns, time_constant_sec=time_constant_sec)
            for track, row in zip(ids, given_values)
        ]
        np.testing.assert_allclose(smoothed, np.reshape(expected, (-1, 2)), atol=1e-12)


def test_a_step_back_forgets_all_tracks() -> None:
    smoother = TrackSmoother()
    smoother.update(['a', 'b'], np.stack([OLD, OLD]), NOW, time_constant_sec=1.0)
    smoothed = smoother.update(['a'], NEW[None], NOW - 1, time_constant_sec=1.0)
    np.testing.assert_array_equal(smoothed, [NEW])
    assert len(smoother) == 1
    smoother.reset()
    assert len(smoother) == 0


def test_people_without_an_id_are_not_smoothed() -> None:
    smoother = TrackSmoother()
    for step, value in enumerate((OLD, NEW, OLD)):
        smoothed = smoother.update(
            ['', ''], np.stack([value, value]), NOW + step, time_constant_sec=1.0
        )
        np.testing.assert_array_equal(smoothed, [value, value])


def test_tracks_not_seen_for_long_are_forgotten() -> None:
    smoother = TrackSmoother()
    for step in range(500):
        smoother.update(
            [f'track_{step}'], OLD[None], NOW + step * SECOND // 10, time_constant_sec=0.2
        )
        assert len(smoother) <= 37 * 2 + 1


@pytest.mark.parametrize(
    ('ids', 'probabilities', 'match'),
    [
        (['a'], np.zeros((2, 3)), r'probabilities must be \[1, C\], got \(2, 3\)'),
        (['a'], np.zeros(1), r'probabilities must be \[1, C\], got \(1,\)'),
        (['a', 'a'], np.zeros((2, 2)), 'ids must differ from one another, got'),
        (['a'], np.array([[np.nan, 1.0]]), 'probabilities must be finite, got'),
    ],
)
def test_results_of_tracks_that_make_no_sense_are_refused_and_forgotten(
    ids: list[str], probabilities: np.ndarray, match: str
) -> None:
    smoother, expected = TrackSmoother(), TrackSmoother()
    for one in (smoother, expected):
        one.update(['a'], OLD[None], NOW, time_constant_sec=1.0)
    with pytest.raises(ValueError, match=match):
        smoother.update(ids, probabilities, NOW - SECOND, time_constant_sec=1.0)
    np.testing.assert_array_equal(
        smoother.update(['a'], NEW[None], NOW + SECOND, time_constant_sec=1.0),
        expected.update(['a'], NEW[None], NOW + SECOND, time_constant_sec=1.0),
    )
