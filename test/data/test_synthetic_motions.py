from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.data.synthetic.action_motions import (
    _sitting_keys,
    ACTION_MOTIONS,
    sit_down,
    stand_up,
)
from mtl_training.data.synthetic.gaits import Gait
from mtl_training.data.synthetic.gesture_motions import GESTURE_MOTIONS
from mtl_training.data.synthetic.labels import (
    ACTIONS,
    ACTIVITIES,
    FLIP_LABELS,
    GESTURES,
    TASK_LABELS,
    task_of,
)
from mtl_training.data.synthetic.motion import NEARLY_WHOLE, reversed_keys
from mtl_training.data.synthetic.poses import C, CHANNELS, key_pose, KeyTrack, mirrored
from mtl_training.data.synthetic.skeleton import Body, forward_kinematics, JOINT, JOINTS
import numpy as np
import pytest

MOTIONS = {**ACTION_MOTIONS, **GESTURE_MOTIONS}
# Everything that starts and ends standing at rest: a single frame at either end tells nothing.
FROM_REST_TO_REST = (
    'jump', 'bend', 'kick', 'throw', 'point_left', 'point_right', 'swipe_left', 'swipe_right',
    'stop', 'raise_both_hands',
)  # fmt: skip
CONTINUED = ('walk', 'run', 'wave', 'beckon', 'clap')
ONCE = ('sit_down', 'stand_up')
seeds = st.integers(0, 2**32)


def motion_of(label: str, seed: int, duration_sec: float = 4.0):
    return MOTIONS[label](np.random.default_rng(seed), duration_sec)


def test_every_label_has_a_motion_and_there_are_enough_of_each() -> None:
    assert set(MOTIONS) == {*ACTIONS, *GESTURES}
    assert len(ACTIONS) >= 8
    assert len(GESTURES) >= 8
    assert len({*ACTIONS, *GESTURES}) == len(ACTIONS) + len(GESTURES)


def test_mirroring_labels_twice_changes_nothing_and_keeps_the_task() -> None:
    assert set(FLIP_LABELS) == {*ACTIONS, *GESTURES}
    for label, other in FLIP_LABELS.items():
        assert FLIP_LABELS[other] == label
        assert task_of(other) == task_of(label)
    assert FLIP_LABELS['swipe_left'] == 'swipe_right'
    assert FLIP_LABELS['walk'] == 'walk'


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="label 'dance' is unknown"):
        task_of('dance')


@pytest.mark.parametrize('label', FROM_REST_TO_REST)
def test_executions_begin_and_end_in_the_same_rest(label: str) -> None:
    for seed in range(5):
        motion = motion_of(label, seed)
        ends = np.array(motion.executions).ravel()
        poses = motion.track(ends[(ends > 0) & (ends < 4.0)])
        np.testing.assert_allclose(poses, np.tile(key_pose(), (len(poses), 1)), atol=1e-9)


def test_wave_beckon_and_clap_begin_at_rest_too() -> None:
    for label in ('wave', 'beckon', 'clap'):
        pose = motion_of(label, 3).track(np.array([-5.0]))[0]
        np.testing.assert_allclose(pose, key_pose(), atol=1e-9)


def test_jump_and_squat_begin_alike() -> None:
    for label in ('jump', 'squat'):
        motion = motion_of(label, 0)
        pose = motion.track(np.array([motion.executions[0][0]]))[0]
        feet = [C[f'{side}_foot_out'] for side in ('left', 'right')]
        np.testing.assert_allclose(np.delete(pose, feet), np.delete(key_pose(), feet), atol=1e-9)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_standing_up_is_sitting_down_run_backward(seed: int) -> None:
    down = sit_down(np.random.default_rng(seed), 4.0)
    up = stand_up(np.random.default_rng(seed), 4.0)
    (down_start, down_end), (up_start, up_end) = down.executions[0], up.executions[0]
    progress = np.linspace(0, 1, 50)
    falling = down.track(down_start + progress * (down_end - down_start))
    rising = up.track(up_start + progress * (up_end - up_start))
    np.testing.assert_allclose(rising, falling[::-1], atol=1e-6)


def test_sitting_down_and_standing_up_change_the_activity() -> None:
    down, up = motion_of('sit_down', 1), motion_of('stand_up', 1)
    ends = np.array([0.0, 4.0])
    standing, sitting = ACTIVITIES.index('standing'), ACTIVITIES.index('sitting')
    assert down.activities(ends).tolist() == [standing, sitting]
    assert up.activities(ends).tolist() == [sitting, standing]


@pytest.mark.parametrize('label', [label for label in MOTIONS if label not in ONCE])
def test_every_window_of_two_seconds_shows_a_repeated_motion(label: str) -> None:
    first = 0.5 if label in CONTINUED else 0.0  # an arm has to be raised first
    for seed in range(12):
        motion = motion_of(label, seed)
        for start in np.arange(first, 1.9, 0.05):
            assert motion.shown(start, start + 2.0) >= NEARLY_WHOLE - 0.02, (seed, start)


@pytest.mark.parametrize('label', ONCE)
def test_windows_for_a_single_motion_span_at_least_0_8_seconds(label: str) -> None:
    for seed in range(12):
        motion = motion_of(label, seed, 3.6)
        starts = np.arange(0.0, 1.6, 0.01)
        good = [start for start in starts if motion.shown(start, start + 2.0) >= NEARLY_WHOLE]
        assert max(good) - min(good) >= 0.8


def test_swipes_move_the_hand_to_the_side_they_name() -> None:
    for label, sign in (('swipe_left', 1.0), ('swipe_right', -1.0)):
        for seed in range(8):
            motion = motion_of(label, seed)
            start, end = motion.executions[1]
            poses = motion.track(np.linspace(start, end, 200))
            sides = np.stack([poses[:, C['left_hand_out']], -poses[:, C['right_hand_out']]])
            moving = np.ptp(sides, axis=1).argmax()
            course = sides[moving]
            assert (course.argmax() - course.argmin()) * sign > 0
            assert np.ptp(course) > 0.9


def test_pointing_uses_the_arm_of_its_side() -> None:
    for label in ('point_left', 'point_right'):
        poses = motion_of(label, 2).track(np.linspace(0.0, 4.0, 200))
        side = label.removeprefix('point_')
        assert poses[:, C[f'{side}_hand_out']].max() > 0.8
        other = 'right' if side == 'left' else 'left'
        assert np.ptp(poses[:, C[f'{other}_hand_out']]) < 0.1


def test_only_a_runner_leaves_the_ground() -> None:
    for label, flies in (('walk', False), ('run', True)):
        poses = motion_of(label, 4).track(np.linspace(0.0, 2.0, 400))
        lower = np.minimum(poses[:, C['left_foot_up']], poses[:, C['right_foot_up']])
        assert (lower > 0.08).any() == flies


def test_a_standing_foot_does_not_slide() -> None:
    motion = motion_of('walk', 5)
    assert isinstance(motion.track, Gait)
    times = np.linspace(0.0, 2.0, 2001)
    poses = motion.track(times)
    place = poses[:, C['path']] + poses[:, C['left_foot_forward']]
    speed = np.gradient(place, times)
    # Strictly within a stance, so that no difference reaches into a swing.
    stride = (motion.track.frequency * times + motion.track.phase) % 1.0
    stance = (stride > 0.02) & (stride < motion.track.stance - 0.02)
    assert np.abs(speed[stance]).max() < 1e-6


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_key_track_meets_its_keys_and_never_overshoots(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.1, 1.0, 5))
    poses = rng.normal(size=(5, len(CHANNELS)))
    track = KeyTrack.through(list(zip(times.tolist(), poses)))
    np.testing.assert_allclose(track(times), poses, atol=1e-9)
    for i in range(4):
        between = track(np.linspace(times[i], times[i + 1], 30))
        low, high = np.minimum(poses[i], poses[i + 1]), np.maximum(poses[i], poses[i + 1])
        assert (between >= low - 1e-9).all()
        assert (between <= high + 1e-9).all()


def test_reversed_keys_run_the_same_course_backward() -> None:
    keys = _sitting_keys(np.random.default_rng(0), 0.5)
    forward, backward = KeyTrack.through(keys), KeyTrack.through(reversed_keys(keys))
    times = np.linspace(0.0, keys[-1][0], 40)
    np.testing.assert_allclose(backward(times), forward(times)[::-1], atol=1e-9)


@given(seed=seeds, label=st.sampled_from([*ACTIONS, *GESTURES]))
@settings(max_examples=25, deadline=None)
def test_bones_keep_their_length_and_knees_bend_forward(seed: int, label: str) -> None:
    rng = np.random.default_rng(seed)
    body = Body.sample(rng)
    joints = forward_kinematics(body, motion_of(label, seed).track(np.linspace(0, 4, 60)))

    def at(name: str) -> np.ndarray:
        return joints[:, JOINT[name]]

    for side in ('left', 'right'):
        for start, end, length in (
            ('hip', 'knee', body.thigh),
            ('knee', 'ankle', body.shin),
            ('shoulder', 'elbow', body.upper_arm),
            ('elbow', 'wrist', body.forearm),
            ('wrist', 'hand', body.hand),
        ):
            bone = np.linalg.norm(at(f'{side}_{start}') - at(f'{side}_{end}'), axis=-1)
            np.testing.assert_allclose(bone, length, rtol=1e-6)
        shin, leg = (
            at(f'{side}_knee') - at(f'{side}_ankle'),
            at(f'{side}_hip') - at(f'{side}_ankle'),
        )
        leg = leg / np.linalg.norm(leg, axis=-1, keepdims=True)
        aside = shin - (shin * leg).sum(-1, keepdims=True) * leg
        # Forward is the x axis: none of these motions turns the hips.
        assert (aside[:, 0] > -0.01).all()
        assert (joints[:, JOINT[f'{side}_ankle'], 2] > 0).all()


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_mirrored_poses_give_mirrored_joints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    body = Body.sample(rng)
    poses = key_pose() + rng.normal(0, 0.2, (4, len(CHANNELS)))
    joints, other = (forward_kinematics(body, p) for p in (poses, mirrored(poses)))
    swap = [
        JOINT[name.replace('left_', '#').replace('right_', 'left_').replace('#', 'right_')]
        for name in JOINTS
    ]
    np.testing.assert_allclose(other[:, swap] * [1, -1, 1], joints, atol=1e-9)


def test_labels_are_listed_by_task() -> None:
    assert TASK_LABELS == {'action': ACTIONS, 'gesture': GESTURES}
