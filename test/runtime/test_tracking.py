"""People keep their ids: through noise, crossings, hiding, any frame rate and broken clocks."""

from __future__ import annotations

from collections.abc import Iterator
import gc
import itertools
import math
import random
import re

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.runtime.person_filter import PersonBoxFilter
from mtl_perception.runtime.tracking import BRIDGED_PERIODS, PersonTracker, RandomIds
import numpy as np
import pytest

SECOND = 1_000_000_000
NOW = 1_795_000_000 * SECOND
NOBODY = np.zeros((0, 4))
RATES = pytest.mark.parametrize('rate', [5, 10, 30], ids='{} Hz'.format)


def numbered() -> Iterator[str]:
    return (f'person_{number}' for number in itertools.count())


def box(x: float, y: float = 300.0, width: float = 60.0, height: float = 150.0) -> np.ndarray:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


class Camera:
    """Frames at a constant rate, shown to a tracker."""

    def __init__(self, rate: float, tracker: PersonTracker | None = None) -> None:
        self.tracker = PersonTracker(ids=numbered()) if tracker is None else tracker
        self.rate, self.frame = rate, 0

    @property
    def seconds(self) -> float:
        return self.frame / self.rate

    def see(self, boxes: np.ndarray, score: float = 0.9) -> list[str]:
        boxes = np.reshape(boxes, (-1, 4))
        stamp_ns = NOW + round(self.seconds * SECOND)
        self.frame += 1
        return self.tracker.update(boxes, np.full(len(boxes), score), stamp_ns)

    def hide(self, seconds: float) -> None:
        """Show nobody; the next frame is this much after the last with somebody."""
        for _ in range(math.floor(seconds * self.rate + 1e-9) - 1):
            assert self.see(NOBODY) == []


def test_a_confident_detection_has_its_id_in_its_first_frame() -> None:
    assert Camera(30).see(box(100)) == ['person_0']


@RATES
@pytest.mark.parametrize('noise_px', [0, 3, 6])
def test_a_standing_person_keeps_its_id_through_noise_and_hiding(
    rate: int, noise_px: float
) -> None:
    rng = np.random.default_rng(0)
    for num_frames in (1, 2, rate, 3 * rate):
        camera = Camera(rate)
        for _ in range(num_frames):
            assert camera.see(box(300) + rng.normal(0, noise_px, 4)) == ['person_0']
        camera.hide(0.8)
        assert camera.see(box(300) + rng.normal(0, noise_px, 4)) == ['person_0']


@RATES
@pytest.mark.parametrize('goes_on', [True, False], ids=['goes on', 'stops'])
def test_a_walking_person_keeps_its_id_while_hidden(rate: int, goes_on: bool) -> None:
    rng, camera, speed = np.random.default_rng(1), Camera(rate), 120.0
    for _ in range(2 * rate):
        x = 100 + speed * camera.seconds
        assert camera.see(box(x) + rng.normal(0, 2, 4)) == ['person_0']
    camera.hide(0.8)
    assert camera.see(box(100 + speed * camera.seconds if goes_on else x)) == ['person_0']


@RATES
@pytest.mark.parametrize('max_age_sec', [0.5, 1.0, 2.0])
def test_who_is_away_for_too_long_is_somebody_new(rate: int, max_age_sec: float) -> None:
    for away, expected in ((0.8, 'person_0'), (1.3, 'person_1')):
        tracker = PersonTracker(max_age_sec=max_age_sec, ids=numbered())
        camera = Camera(rate * 4, tracker)
        camera.see(box(300))
        camera.hide(away * max_age_sec)
        assert camera.see(box(300)) == [expected]


@RATES
def test_the_others_do_not_renew_who_is_away(rate: int) -> None:
    camera, both = Camera(rate), np.stack([box(100), box(500)])
    assert camera.see(both) == ['person_0', 'person_1']
    for _ in range(math.ceil(1.3 * rate)):
        assert camera.see(both[:1]) == ['person_0']
    assert camera.see(both) == ['person_0', 'person_2']


def test_the_age_can_be_changed_at_any_time() -> None:
    camera = Camera(10)
    assert camera.see(box(300)) == ['person_0']
    camera.tracker.max_age_sec = 3.0
    assert camera.tracker.max_age_sec == 3.0
    camera.hide(2.5)
    assert camera.see(box(300)) == ['person_0']
    camera.tracker.max_age_sec = 0.5
    camera.hide(0.8)
    assert camera.see(box(300)) == ['person_1']


@pytest.mark.parametrize('rate', [10, 30])
@pytest.mark.parametrize('missed', [0.0, 0.1])
@pytest.mark.parametrize('speed', [50.0, 100.0])
def test_two_people_who_cross_keep_their_ids(rate: int, missed: float, speed: float) -> None:
    rng, camera = np.random.default_rng(2), Camera(rate)
    names = np.array(['person_0', 'person_1'])
    for frame in range(4 * rate):
        walked = speed * frame / rate
        people = np.stack([box(100 + walked), box(100 + 4 * speed - walked, 310)])
        is_seen = (rng.random(2) >= missed) | (frame == 0)
        seen_as = camera.see((people + rng.normal(0, 1, (2, 4)))[is_seen])
        assert seen_as == names[is_seen].tolist()


def test_twenty_people_keep_their_ids_in_any_order() -> None:
    rng, camera = np.random.default_rng(3), Camera(15)
    x, y = np.meshgrid(np.arange(5) * 130.0, np.arange(4) * 200.0)
    direction = rng.uniform(0, 2 * np.pi, 20)
    names = np.array(camera.see(np.stack([box(*at) for at in zip(x.flat, y.flat)])))
    assert len(set(names)) == 20
    for frame in range(1, 100):
        dx, dy = (30 * trig(direction + frame / 15) for trig in (np.cos, np.sin))
        people = np.stack([box(*at) for at in zip(x.flat + dx, y.flat + dy)])
        if frame == 1:  # the circles are entered
            names = np.array(camera.see(people))
            continue
        order = rng.permutation(20)
        assert camera.see(people[order]) == names[order].tolist()


@pytest.mark.parametrize('seed', range(20))
def test_ids_are_those_of_an_oracle_that_knows_who_is_who(seed: int) -> None:
    rng, stamp_ns, step_ns = random.Random(seed), NOW, 0
    tracker, names = PersonTracker(ids=numbered()), numbered()
    known: dict[int, tuple[str, int]] = {}  # lane: (id, last seen)
    for frame in range(40):
        max_age_ns = max(SECOND, round(BRIDGED_PERIODS * step_ns) if frame > 1 else 0)
        step_ns = rng.choice([33_000_000, 50_000_000, 200_000_000, 700_000_000, 1_100_000_000])
        # Seconds add up a little beside the stamps: exactly at the limit both are right.
        step_ns += rng.randrange(1_000_000)
        stamp_ns += step_ns
        known = {lane: seen for lane, seen in known.items() if stamp_ns - seen[1] < max_age_ns}
        lanes = [lane for lane in range(4) if rng.random() < 0.7]
        rng.shuffle(lanes)
        seen = tracker.update(
            np.array([box(300 * lane + rng.gauss(0, 2)) for lane in lanes]).reshape(-1, 4),
            np.array([rng.uniform(0.5, 1) for _ in lanes]),
            stamp_ns,
        )
        for lane, name in zip(lanes, seen, strict=True):
            assert name == (known[lane][0] if lane in known else next(names))
            known[lane] = (name, stamp_ns)


@pytest.mark.parametrize('jitter_sec', [0.0, 0.01, 0.02])
def test_a_rate_that_varies_does_not_matter(jitter_sec: float) -> None:
    rng, tracker, seconds = np.random.default_rng(4), PersonTracker(ids=numbered()), 0.0
    for frame in range(200):
        seconds += (0.033, 0.2, 0.1)[frame % 3] + rng.uniform(-jitter_sec, jitter_sec)
        x = 300 + 100 * math.sin(seconds)
        stamp_ns = NOW + round(seconds * SECOND)
        assert tracker.update(box(x)[None], np.ones(1), stamp_ns) == ['person_0']


@pytest.mark.parametrize(
    'periods_sec',
    [(1.5,), (60.0,), (1.0, 1.0, 1.0, 2.0), (0.06, 0.1)],
    ids=['one of 45', 'one a minute', 'rates that do not fit', 'an age below a period'],
)
def test_whoever_is_in_every_frame_keeps_its_id_however_seldom_frames_come(
    periods_sec: tuple[float, ...],
) -> None:
    tracker, stamp_ns = PersonTracker(max_age_sec=min(1.0, periods_sec[0] * 0.9)), NOW
    first, *others = [
        tracker.update(box(300)[None], np.ones(1), stamp_ns := stamp_ns + round(sec * SECOND))
        for sec in periods_sec * 20
    ]
    # After two frames it is known how seldom they come.
    assert first != others[0] == others[1]
    assert others == [others[0]] * len(others)


def test_who_leaves_is_forgotten_however_seldom_frames_come() -> None:
    camera = Camera(0.5)
    for _ in range(3):
        camera.see(box(300))
    assert camera.see(NOBODY) == []
    assert camera.see(box(300)) == ['person_1']  # as away for one frame is within 2.5 periods
    camera.hide(6)
    assert camera.see(box(300)) == ['person_2']


def test_low_scores_continue_tracks_but_start_none() -> None:
    camera = Camera(10)
    assert camera.see(box(300), score=0.2) == ['']
    assert camera.see(box(300)) == ['person_0']
    for _ in range(30):
        assert camera.see(box(300), score=0.2) == ['person_0']
    assert camera.see(box(300)) == ['person_0']
    for _ in range(11):
        assert camera.see(box(300), score=0.05) == ['']
    assert camera.see(box(300)) == ['person_1']


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('activation_score', [0.3, 0.5, 0.7])
def test_a_score_at_the_threshold_starts_a_track(dtype: type, activation_score: float) -> None:
    tracker = PersonTracker(activation_score=activation_score, ids=numbered())
    scores = np.array([activation_score, activation_score - 0.01, 1.0], dtype=dtype)
    boxes = np.stack([box(100), box(500), box(900)]).astype(dtype)
    is_above = scores.astype(np.float64) >= activation_score
    names = tracker.update(boxes, scores, NOW)
    assert [name != '' for name in names] == is_above.tolist()


def test_the_activation_score_can_be_changed_at_any_time() -> None:
    camera = Camera(10)
    assert camera.see(box(300), score=0.6) == ['person_0']
    camera.tracker.activation_score = 0.7
    assert camera.tracker.activation_score == 0.7
    assert camera.see(np.stack([box(300), box(600)]), score=0.6) == ['person_0', '']
    with pytest.raises(ValueError, match=r'got 0\.1 and 0\.05'):
        camera.tracker.activation_score = 0.05
    camera.tracker.activation_score = 0.6
    assert camera.see(np.stack([box(300), box(600)]), score=0.6) == ['person_0', 'person_1']


def test_the_number_of_tracks_is_how_many_people_are_remembered() -> None:
    camera = Camera(10)
    assert camera.tracker.num_tracks == 0
    camera.see(np.stack([box(300), box(600)]))
    camera.see(box(300))
    assert camera.tracker.num_tracks == 2
    for _ in range(11):
        camera.see(box(300))
    assert camera.tracker.num_tracks == 1


def test_confident_and_doubtful_people_keep_their_places_in_the_answer() -> None:
    rng, tracker = np.random.default_rng(5), PersonTracker(ids=numbered())
    people = np.stack([box(200 * lane) for lane in range(6)])
    names = np.array(tracker.update(people, np.full(6, 0.9), NOW))
    for frame in range(1, 30):
        order = rng.permutation(6)[: rng.integers(0, 7)]
        scores = rng.uniform(0.1, 1, len(order))
        seen_as = tracker.update(people[order], scores, NOW + frame * SECOND // 30)
        assert seen_as == names[order].tolist()


@pytest.mark.parametrize(
    'step_ns',
    [-1, -SECOND, 0, SECOND + 1, 3600 * SECOND, -NOW],
    ids=['a step back', 'a second back', 'a repeated stamp', 'a gap', 'an hour', 'time zero'],
)
def test_a_clock_that_jumps_starts_afresh(step_ns: int) -> None:
    tracker = PersonTracker(ids=numbered())
    for frame in range(3):
        stamp_ns = NOW + frame * SECOND // 10
        assert tracker.update(box(300)[None], np.ones(1), stamp_ns) == ['person_0']
    stamp_ns += step_ns
    for frame in range(3):
        assert tracker.update(box(300)[None], np.ones(1), stamp_ns + frame * SECOND // 10) == [
            'person_1'
        ]


def test_reset_forgets_everybody_and_no_id_comes_again() -> None:
    camera = Camera(10)
    assert camera.see(box(300)) == ['person_0']
    camera.tracker.reset()
    assert camera.see(box(300)) == ['person_1']


def test_nobody_for_any_number_of_frames_is_fine() -> None:
    camera = Camera(30)
    for _ in range(100):
        assert camera.see(NOBODY) == []
    assert camera.see(box(300)) == ['person_0']


@pytest.mark.parametrize(
    'no_box',
    [box(300, width=0), box(300, height=0), box(300, width=-60), box(300, width=1e-200)],
    ids=['no width', 'no height', 'turned over', 'hardly a width'],
)
def test_a_box_without_area_is_nobody(no_box: np.ndarray) -> None:
    camera = Camera(10)
    for _ in range(5):
        assert camera.see(np.stack([no_box, box(300)])) == ['', 'person_0']


def test_boxes_may_reach_beyond_the_image_and_be_small_or_large() -> None:
    camera = Camera(10)
    people = np.stack([box(-200, -300), box(500, width=1, height=1), box(5e5, 0, 2e5, 9e5)])
    for _ in range(5):
        assert camera.see(people) == ['person_0', 'person_1', 'person_2']


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 1e7])
@pytest.mark.parametrize('column', range(4))
def test_boxes_that_are_not_finite_are_refused_and_forgotten(bad: float, column: int) -> None:
    camera, boxes = Camera(10), np.stack([box(300), box(600)])
    camera.see(boxes)
    spoilt = boxes.copy()
    spoilt[1, column] = bad
    with pytest.raises(ValueError, match='boxes must be finite and within ±1000000 px, got'):
        camera.tracker.update(spoilt, np.ones(2), NOW + 100 * SECOND)
    assert camera.see(boxes) == ['person_0', 'person_1']


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_and_forgotten(bad: float) -> None:
    camera = Camera(10)
    camera.see(box(300))
    with pytest.raises(ValueError, match='scores must be finite, got'):
        camera.tracker.update(box(300)[None], np.array([bad]), NOW + 100 * SECOND)
    assert camera.see(box(300)) == ['person_0']


@pytest.mark.parametrize(
    ('boxes', 'scores'),
    [(np.zeros(4), np.zeros(1)), (np.zeros((2, 5)), np.zeros(2)), (np.zeros((2, 4)), np.zeros(3))],
)
def test_shapes_that_do_not_fit_are_refused(boxes: np.ndarray, scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r'boxes must be \[N, 4\] and scores \[N\], got'):
        PersonTracker().update(boxes, scores, NOW)


@pytest.mark.parametrize('value', [0.0, -1.0, np.nan, np.inf])
def test_an_age_that_is_not_positive_is_refused(value: float) -> None:
    tracker = PersonTracker(max_age_sec=2.0)
    with pytest.raises(ValueError, match='max_age_sec must be positive and finite, got'):
        tracker.max_age_sec = value
    assert tracker.max_age_sec == 2.0
    with pytest.raises(ValueError, match='max_age_sec must be positive and finite, got'):
        PersonTracker(max_age_sec=value)


@pytest.mark.parametrize(('low', 'high'), [(0.6, 0.5), (-0.1, 0.5), (0.1, 1.1), (np.nan, 0.5)])
def test_scores_out_of_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match='min_score and activation_score must satisfy'):
        PersonTracker(min_score=low, activation_score=high)


def test_thousands_of_frames_with_ever_new_people_do_not_grow_memory() -> None:
    rng, camera = np.random.default_rng(6), Camera(2, PersonTracker(max_age_sec=1.1))

    def num_objects_after(num_frames: int) -> int:
        for _ in range(num_frames):
            camera.see(box(rng.uniform(0, 1e5), rng.uniform(0, 1e5)))
        gc.collect()
        return len(gc.get_objects())

    before = num_objects_after(50)
    assert num_objects_after(2000) - before < 50


@given(
    st.floats(0.001, 0.5),
    st.floats(-200, 200),
    st.floats(20, 200),
    st.integers(min_value=2, max_value=6),
)
def test_the_filter_predicts_the_same_in_one_step_as_in_many(
    elapsed_sec: float, speed: float, width: float, parts: int
) -> None:
    once, often = (PersonBoxFilter(box(300, width=width)) for _ in range(2))
    for one in (once, often):
        one.kf.state[4] = speed
    once.predict(elapsed_sec * 30, 30.0)
    for _ in range(parts):
        often.predict(elapsed_sec * 30 / parts, 30.0)
    np.testing.assert_allclose(often.kf.state, once.kf.state)
    spread = np.sqrt(np.diag(once.kf.state_covariance))
    # White acceleration is exact to first order of the decay.
    np.testing.assert_allclose(
        np.sqrt(np.diag(often.kf.state_covariance)), spread, rtol=elapsed_sec
    )


def test_the_filter_follows_a_person_who_walks() -> None:
    followed = PersonBoxFilter(box(0))
    for frame in range(1, 91):
        followed.predict(1.0, 30.0)
        followed.update(box(4.0 * frame))
    np.testing.assert_allclose(followed.state_to_bbox(), box(360.0), atol=2.0)
    # The velocity decays a little from frame to frame.
    assert 0.85 * 120 < followed.kf.state[4, 0] < 120


def test_ids_are_five_letters_and_digits_that_a_topic_name_may_hold() -> None:
    drawn = list(itertools.islice(RandomIds(), 20_000))
    assert all(re.fullmatch('[a-z][a-z0-9]{4}', one) for one in drawn)
    assert len(set(drawn)) == len(drawn)
    assert set(''.join(drawn)) == set('abcdefghijklmnopqrstuvwxyz0123456789')


@given(st.integers(0, 2**32))
def test_no_id_comes_again_before_all_have_come(seed: int) -> None:
    ids = RandomIds(random.Random(seed))
    assert math.gcd(ids._step, 26 * 36**4) == 1  # each position is then visited once
    assert ids.NUM_IDS == 26 * 36**4


def test_the_generator_decides_the_ids() -> None:
    first, same, other = (
        list(itertools.islice(RandomIds(random.Random(seed)), 50)) for seed in (1, 1, 2)
    )
    assert first == same
    assert not set(first) & set(other)
    assert next(RandomIds()) != next(RandomIds())  # as a restarted node draws


def test_two_trackers_never_give_the_same_id() -> None:
    cameras = [Camera(10, PersonTracker()) for _ in range(2)]
    people = np.stack([box(200 * lane) for lane in range(10)])
    names = [name for camera in cameras for name in camera.see(people)]
    assert len(set(names)) == 20
    for camera, expected in zip(cameras, (names[:10], names[10:])):
        assert camera.see(people) == expected
