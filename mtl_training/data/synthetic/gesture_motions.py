"""Gestures: what a standing person shows the camera with the arms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtl_training.data.synthetic.action_motions import MakeMotion
from mtl_training.data.synthetic.motion import cycles, Keys, keys_of, Motion, repeat
from mtl_training.data.synthetic.poses import Array, key_pose, KeyTrack, mirrored
import numpy as np


@dataclass(frozen=True)
class Swinging:
    """Raise the arm, swing between two poses, lower it; the swing is a sine of the time."""

    envelope: KeyTrack  # one channel: 0 at rest, 1 while swinging
    rest: Array
    middle: Array
    stroke: Array  # from the middle to either end
    frequency: float
    phase: float

    def __call__(self, times_sec: Array) -> Array:
        """Return the poses at some times."""
        raised = self.envelope(times_sec)[:, :1]
        swing = np.sin(2 * np.pi * (self.frequency * times_sec + self.phase))[:, None]
        return self.rest + raised * (self.middle - self.rest + swing * self.stroke)


def _swinging(
    rng: np.random.Generator,
    duration_sec: float,
    ends: tuple[Array, Array],
    frequency: float,
) -> Motion:
    raise_sec, lower_sec = rng.uniform(0.28, 0.4, 2)
    start = rng.uniform(-0.45, 0.15)
    end = duration_sec + (rng.uniform(-0.1, 0.0) if rng.random() < 0.5 else 1.0)
    keys = [(start, 0.0), (start + raise_sec, 1.0), (end - lower_sec, 1.0), (end, 0.0)]
    first, last = ends
    return Motion(
        Swinging(
            envelope=KeyTrack.through([(time, np.array([raised])) for time, raised in keys]),
            rest=key_pose(),
            middle=(first + last) / 2,
            stroke=(last - first) / 2,
            frequency=frequency,
            phase=rng.uniform(0, 1),
        ),
        cycles(start + raise_sec, end - lower_sec, 1 / frequency),
    )


def _repeating(
    rng: np.random.Generator,
    duration_sec: float,
    poses: Sequence[Array],
    steps_sec: Sequence[float],
) -> Motion:
    pace = rng.uniform(0.92, 1.06)

    def execution() -> Keys:
        return keys_of(poses, pace * rng.uniform(0.95, 1.05) * np.array(steps_sec))

    return repeat(execution, rng, duration_sec)


def _either_side(rng: np.random.Generator, *poses: Array) -> list[Array]:
    """Return poses of the right hand as they are or mirrored to the left hand."""
    flip = rng.random() < 0.4
    return [mirrored(pose) if flip else pose for pose in poses]


def wave(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Wave a raised hand from side to side."""
    height, width = rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.32)
    middle, forward = rng.uniform(0.32, 0.48), rng.uniform(0.1, 0.3)
    inner, outer = (
        key_pose(
            right_hand_forward=forward,
            right_hand_out=middle + offset,
            right_hand_up=height - 0.35 * abs(offset),
            right_elbow_out=0.9,
            right_wrist_up=0.3,
        )
        for offset in (-width, width)
    )
    first, last = _either_side(rng, inner, outer)
    return _swinging(rng, duration_sec, (first, last), rng.uniform(1.2, 2.2))


def beckon(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Curl the forearm towards oneself, palm up, again and again."""
    out = rng.uniform(0.1, 0.3)
    reached = key_pose(
        right_hand_forward=rng.uniform(0.78, 0.9),
        right_hand_out=out + rng.uniform(0.0, 0.1),
        right_hand_up=-rng.uniform(0.15, 0.35),
        right_elbow_out=0.25,
    )
    curled = key_pose(
        right_hand_forward=rng.uniform(0.2, 0.3),
        right_hand_out=out,
        right_hand_up=rng.uniform(0.1, 0.25),
        right_elbow_out=0.25,
        right_wrist_up=0.5,
    )
    first, last = _either_side(rng, reached, curled)
    return _swinging(rng, duration_sec, (first, last), rng.uniform(1.0, 1.6))


def clap(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Clap both hands in front of the chest."""
    up, forward, width = rng.uniform(-0.25, 0.1), rng.uniform(0.5, 0.65), rng.uniform(0.15, 0.35)
    together, apart = (
        key_pose(hand_forward=forward, hand_up=up, hand_out=out, elbow_out=0.7, wrist_up=0.4)
        for out in (-0.32, width)
    )
    return _swinging(rng, duration_sec, (together, apart), rng.uniform(1.5, 2.4))


def point_right(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Stretch the right arm out to the right, hold it, lower it."""
    aim = key_pose(
        right_hand_forward=rng.uniform(0.05, 0.35),
        right_hand_out=rng.uniform(0.88, 0.97),
        right_hand_up=rng.uniform(-0.12, 0.25),
        head_yaw=-rng.uniform(0.0, 0.8),
    )
    hold_sec = rng.uniform(0.3, 0.42)
    return _repeating(rng, duration_sec, [key_pose(), aim, aim, key_pose()], [0.34, hold_sec, 0.3])


def point_left(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Stretch the left arm out to the left, hold it, lower it."""
    return _mirrored_motion(point_right, rng, duration_sec)


def _swipe_poses(rng: np.random.Generator) -> tuple[list[Array], list[float]]:
    """Return a swipe of the right hand from its own side across the body."""
    forward, up = rng.uniform(0.5, 0.65), rng.uniform(-0.15, 0.25)
    outer = key_pose(
        right_hand_forward=forward - 0.1,
        right_hand_out=rng.uniform(0.55, 0.75),
        right_hand_up=up + 0.05,
        right_elbow_out=0.7,
    )
    inner = key_pose(
        right_hand_forward=forward,
        right_hand_out=-rng.uniform(0.6, 0.8),
        right_hand_up=up + rng.uniform(-0.05, 0.1),
        right_elbow_out=0.9,
        twist=0.2,
    )
    return [key_pose(), outer, inner, key_pose()], [0.34, 0.32, 0.34]


def swipe_left(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Sweep a hand from the right to the left."""
    poses, steps = _swipe_poses(rng)
    if rng.random() < 0.4:
        poses, steps = [mirrored(pose) for pose in reversed(poses)], steps[::-1]
    return _repeating(rng, duration_sec, poses, steps)


def swipe_right(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Sweep a hand from the left to the right: a swipe to the left run backward."""
    poses, steps = _swipe_poses(rng)
    if rng.random() < 0.4:
        poses = [mirrored(pose) for pose in poses]
    else:
        poses, steps = poses[::-1], steps[::-1]
    return _repeating(rng, duration_sec, poses, steps)


def stop(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Push an open palm towards the camera and hold it there."""
    palm = key_pose(
        right_hand_forward=rng.uniform(0.88, 0.96),
        right_hand_out=rng.uniform(0.0, 0.25),
        right_hand_up=rng.uniform(0.05, 0.28),
        right_elbow_out=0.4,
        right_wrist_up=1.35,
        pitch=rng.uniform(0.0, 0.1),
    )
    rest, palm = _either_side(rng, key_pose(), palm)
    hold_sec = rng.uniform(0.36, 0.46)
    return _repeating(rng, duration_sec, [rest, palm, palm, rest], [0.3, hold_sec, 0.28])


def raise_both_hands(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Raise both hands above the head, hold them, lower them."""
    high = key_pose(
        hand_forward=rng.uniform(0.05, 0.2),
        hand_out=rng.uniform(0.1, 0.4),
        hand_up=rng.uniform(0.78, 0.95),
        elbow_out=1.0,
    )
    sideways = key_pose(
        (key_pose() + high) / 2,
        hand_out=rng.uniform(0.3, 0.85),
        hand_forward=rng.uniform(0.2, 0.5),
        hand_up=-0.05,
    )
    hold_sec = rng.uniform(0.2, 0.3)
    return _repeating(
        rng,
        duration_sec,
        [key_pose(), sideways, high, high, sideways, key_pose()],
        [0.2, 0.2, hold_sec, 0.18, 0.18],
    )


@dataclass(frozen=True)
class MirroredTrack:
    """A pose track with left and right exchanged."""

    track: Callable[[Array], Array]

    def __call__(self, times_sec: Array) -> Array:
        """Return the poses at some times."""
        return mirrored(self.track(times_sec))


def _mirrored_motion(make: MakeMotion, rng: np.random.Generator, duration_sec: float) -> Motion:
    motion = make(rng, duration_sec)
    return Motion(MirroredTrack(motion.track), motion.executions, motion.activities)


GESTURE_MOTIONS: dict[str, MakeMotion] = {
    'wave': wave,
    'point_left': point_left,
    'point_right': point_right,
    'swipe_left': swipe_left,
    'swipe_right': swipe_right,
    'stop': stop,
    'beckon': beckon,
    'raise_both_hands': raise_both_hands,
    'clap': clap,
}
