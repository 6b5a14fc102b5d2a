"""Whole-body actions: key poses and the course through them."""

from collections.abc import Callable

from mtl_training.data.synthetic.gaits import run, walk
from mtl_training.data.synthetic.motion import (
    activity_id,
    hold,
    Keys,
    keys_of,
    Motion,
    once,
    repeat,
    reversed_keys,
)
from mtl_training.data.synthetic.poses import Array, C, key_pose, mirrored
import numpy as np
from numpy.typing import NDArray

MakeMotion = Callable[[np.random.Generator, float], Motion]


def seated_pose(rng: np.random.Generator, seat_height: float) -> Array:
    """
    Return a pose on a seat behind the feet.

    :param rng: Draws the posture.
    :param seat_height: Height of the hips, leg lengths.
    """
    on_knees = rng.random() < 0.7
    return key_pose(
        pelvis_up=seat_height,
        pelvis_forward=-rng.uniform(0.46, 0.54),
        pitch=rng.uniform(-0.08, 0.15),
        hand_forward=rng.uniform(0.45, 0.6) if on_knees else rng.uniform(0.05, 0.2),
        hand_up=-rng.uniform(0.55, 0.65) if on_knees else -rng.uniform(0.75, 0.85),
        hand_out=rng.uniform(0.0, 0.12) if on_knees else rng.uniform(0.15, 0.3),
        foot_forward=rng.uniform(-0.06, 0.08),
    )


def _sitting_keys(rng: np.random.Generator, seat_height: float) -> Keys:
    seated = seated_pose(rng, seat_height)
    halfway = key_pose(
        (key_pose() + seated) / 2,
        pelvis_forward=-rng.uniform(0.3, 0.38),
        pelvis_up=0.5 * (seat_height + 0.985) - 0.05,
        pitch=rng.uniform(0.5, 0.8),
        hand_forward=rng.uniform(0.2, 0.5),
        hand_up=-rng.uniform(0.6, 0.8),
    )
    settled = key_pose(seated, pitch=seated[C['pitch']] + rng.uniform(0.15, 0.35))
    first = key_pose(foot_forward=seated[C['left_foot_forward']])
    pace = rng.uniform(0.9, 1.2)
    return keys_of([first, halfway, settled, seated], pace * np.array([0.5, 0.38, 0.25]))


def _sitting_activity(keys: Keys, start_sec: float) -> Callable[[Array], NDArray[np.int64]]:
    track = once(keys, start_sec).track
    heights = [pose[C['pelvis_up']] for _, pose in keys]
    middle = (min(heights) + max(heights)) / 2

    def activities(times_sec: Array) -> NDArray[np.int64]:
        seated = track(times_sec)[:, C['pelvis_up']] < middle
        return np.where(seated, activity_id('sitting'), activity_id('standing'))

    return activities


def _change_of_seat(keys: Keys, rng: np.random.Generator, duration_sec: float) -> Motion:
    # In the middle of the scene, so that as many windows as possible hold it whole.
    start = (duration_sec - keys[-1][0]) / 2 + rng.uniform(-0.12, 0.12)
    return once(keys, start, _sitting_activity(keys, start))


def sit_down(rng: np.random.Generator, duration_sec: float, seat_height: float = 0.52) -> Motion:
    """Sit down on a seat, once."""
    return _change_of_seat(_sitting_keys(rng, seat_height), rng, duration_sec)


def stand_up(rng: np.random.Generator, duration_sec: float, seat_height: float = 0.52) -> Motion:
    """Stand up from a seat, once: sitting down run backward."""
    return _change_of_seat(reversed_keys(_sitting_keys(rng, seat_height)), rng, duration_sec)


def jump(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Jump up on the spot, again and again."""
    height, depth = rng.uniform(0.22, 0.45), rng.uniform(0.7, 0.8)
    arms, tuck, pace = rng.uniform(-0.4, 0.7), rng.uniform(0.0, 0.25), rng.uniform(0.9, 1.1)
    rest = key_pose()
    crouch = key_pose(
        pelvis_up=depth, pelvis_forward=-0.08, pitch=0.45, hand_forward=-0.4, hand_up=-0.85
    )
    take_off = key_pose(
        pelvis_up=1.02, hand_forward=0.6, hand_up=arms - 0.2, hand_out=0.2, foot_pitch=0.7,
        foot_up=0.04,
    )  # fmt: skip
    top = key_pose(
        take_off, pelvis_up=1.0 + height, foot_up=height + tuck, hand_up=arms, foot_pitch=0.6
    )
    landing = key_pose(take_off, hand_up=-0.3, hand_forward=0.5, foot_pitch=0.2)
    absorb = key_pose(crouch, pelvis_up=depth + 0.08, hand_forward=0.3, hand_up=-0.75)

    def execution() -> Keys:
        steps = [0.24, 0.15, 0.17, 0.17, 0.13, 0.16]
        poses = [rest, crouch, take_off, top, landing, absorb, rest]
        return keys_of(poses, pace * rng.uniform(0.95, 1.05) * np.array(steps))

    return repeat(execution, rng, duration_sec)


def squat(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Bend the knees deeply with an upright back, feet on the ground."""
    depth, pace = rng.uniform(0.4, 0.55), rng.uniform(0.92, 1.06)
    arms_forward = rng.random() < 0.6
    low = key_pose(
        pelvis_up=depth,
        pelvis_forward=-rng.uniform(0.16, 0.26),
        pitch=rng.uniform(0.3, 0.55),
        hand_forward=0.9 if arms_forward else 0.35,
        hand_up=-0.05 if arms_forward else -0.6,
        hand_out=0.05,
        foot_out=rng.uniform(0.04, 0.14),
    )
    rest = key_pose(foot_out=low[C['left_foot_out']])

    def execution() -> Keys:
        steps = [0.42, 0.12, 0.42]
        return keys_of([rest, low, low, rest], pace * rng.uniform(0.95, 1.05) * np.array(steps))

    return repeat(execution, rng, duration_sec)


def bend(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Bend the back forward and reach for the ground with nearly straight legs."""
    pitch, pace = rng.uniform(1.25, 1.7), rng.uniform(0.95, 1.08)
    low = key_pose(
        pelvis_up=rng.uniform(0.9, 0.97),
        pelvis_forward=-rng.uniform(0.1, 0.18),
        pitch=pitch,
        head_pitch=-0.2,
        hand_forward=rng.uniform(0.05, 0.3),
        hand_up=-rng.uniform(0.8, 0.95),
        hand_out=rng.uniform(-0.05, 0.1),
    )
    rest = key_pose()

    def execution() -> Keys:
        steps = [0.42, 0.14, 0.42]
        return keys_of([rest, low, low, rest], pace * rng.uniform(0.95, 1.05) * np.array(steps))

    return repeat(execution, rng, duration_sec)


def kick(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Swing one leg back and kick forward."""
    height, pace = rng.uniform(0.35, 0.7), rng.uniform(0.92, 1.1)
    flip = rng.random() < 0.5
    rest = key_pose()
    back = key_pose(
        pitch=0.15, twist=-0.2, right_foot_forward=-0.5, right_foot_up=0.35, right_foot_pitch=1.0,
        left_hand_forward=0.4, left_hand_up=-0.7, right_hand_forward=-0.3, hand_out=0.3,
    )  # fmt: skip
    strike = key_pose(
        pitch=-0.18, twist=0.25, pelvis_up=0.97, pelvis_forward=0.04, right_foot_forward=0.88,
        right_foot_up=height, right_foot_pitch=-0.5, left_hand_forward=-0.3,
        right_hand_forward=0.45, left_hand_up=-0.8, right_hand_up=-0.6, hand_out=0.4,
    )  # fmt: skip
    lower = key_pose(right_foot_forward=0.35, right_foot_up=0.12, hand_out=0.2)

    def execution() -> Keys:
        poses = [rest, back, strike, lower, rest]
        steps = pace * rng.uniform(0.95, 1.05) * np.array([0.3, 0.2, 0.25, 0.2])
        return keys_of([mirrored(pose) if flip else pose for pose in poses], steps)

    return repeat(execution, rng, duration_sec)


def throw(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Throw overarm: wind up behind the head, fling forward, follow through."""
    pace, power = rng.uniform(0.92, 1.08), rng.uniform(0.8, 1.15)
    flip = rng.random() < 0.5
    step = rng.uniform(0.1, 0.35)
    rest = key_pose()
    wind_up = key_pose(
        twist=-0.65 * power, pitch=-0.15, roll=-0.1, right_hand_forward=-0.25,
        right_hand_out=0.35, right_hand_up=0.4, right_elbow_out=1.2, left_hand_forward=0.75,
        left_hand_up=0.05, left_hand_out=0.1, left_foot_forward=step * 0.5, left_foot_up=0.12,
    )  # fmt: skip
    release = key_pose(
        twist=0.3 * power, pitch=0.22 * power, right_hand_forward=0.75, right_hand_out=0.1,
        right_hand_up=0.6, left_hand_forward=0.1, left_hand_up=-0.75, left_hand_out=0.25,
        left_foot_forward=step, pelvis_forward=step * 0.45, pelvis_up=0.95,
        right_foot_pitch=0.4, right_foot_up=0.05,
    )  # fmt: skip
    follow = key_pose(
        release, twist=0.6 * power, pitch=0.45 * power, right_hand_forward=0.55,
        right_hand_out=-0.45, right_hand_up=-0.6, left_hand_forward=-0.2,
    )  # fmt: skip

    def execution() -> Keys:
        poses = [rest, wind_up, release, follow, rest]
        steps = pace * rng.uniform(0.95, 1.05) * np.array([0.38, 0.17, 0.17, 0.3])
        return keys_of([mirrored(pose) if flip else pose for pose in poses], steps)

    return repeat(execution, rng, duration_sec)


def idle(
    rng: np.random.Generator, duration_sec: float, seat_height: float | None = None
) -> Motion:
    """Stand, or sit where there is a seat, and do nothing in particular."""
    if seat_height is None:
        folded = rng.random() < 0.2
        pose = key_pose(foot_out=rng.uniform(0.0, 0.1))
        if folded:
            pose = key_pose(pose, hand_forward=0.3, hand_up=-0.45, hand_out=-0.3)
        return Motion(hold(pose))
    seated = activity_id('sitting')
    return Motion(
        hold(seated_pose(rng, seat_height)),
        activities=lambda times_sec: np.full(len(times_sec), seated),
    )


ACTION_MOTIONS: dict[str, MakeMotion] = {
    'walk': walk,
    'run': run,
    'sit_down': sit_down,
    'stand_up': stand_up,
    'jump': jump,
    'squat': squat,
    'bend': bend,
    'kick': kick,
    'throw': throw,
}
