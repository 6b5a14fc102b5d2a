"""Walking and running."""

from dataclasses import dataclass

from mtl_training.data.synthetic.motion import activity_id, cycles, Motion
from mtl_training.data.synthetic.poses import Array, C, key_pose, SIDES
import numpy as np


@dataclass(frozen=True)
class Gait:
    """A pose track of steps; lengths in leg lengths, angles in radians."""

    running: bool
    frequency: float  # strides (two steps) per second
    phase: float
    reach: float  # of a foot before and behind the hip
    stance: float  # share of a stride that a foot is on the ground
    lift: float
    bob: float
    pitch: float
    arm_swing: float
    elbow_lift: float

    @property
    def speed(self) -> float:
        """Leg lengths per second."""
        return 2 * self.reach * self.frequency / self.stance

    def __call__(self, times_sec: Array) -> Array:
        """Return the poses at some times."""
        poses = np.tile(key_pose(), (len(times_sec), 1))
        stride = self.frequency * times_sec + self.phase
        poses[:, C['path']] = self.speed * times_sec
        bounce = np.cos(4 * np.pi * (stride - (0.5 * self.stance)))
        # A walker is highest over the standing foot, a runner between the steps.
        height = -self.bob * bounce if self.running else self.bob * bounce
        poses[:, C['pelvis_up']] += height - (0.05 if self.running else 0.03)
        poses[:, C['pitch']] = self.pitch
        swing = np.cos(2 * np.pi * stride)  # +1 when the left foot is in front
        poses[:, C['twist']] = -0.14 * swing
        for side, sign in SIDES:
            self._place_foot(poses, side, stride if side == 'left' else stride + 0.5)
            arm = -sign * swing
            poses[:, C[f'{side}_hand_forward']] = (
                0.08 + 0.28 * self.elbow_lift + self.arm_swing * arm
            )
            poses[:, C[f'{side}_hand_up']] = -0.94 + self.elbow_lift * (0.5 + 0.22 * arm)
            poses[:, C[f'{side}_hand_out']] = 0.12 + 0.08 * self.elbow_lift
        return poses

    def _place_foot(self, poses: Array, side: str, stride: Array) -> None:
        position = stride % 1.0
        on_ground = position < self.stance
        swing = np.clip((position - self.stance) / (1 - self.stance), 0, 1)
        smooth = swing * swing * (3 - 2 * swing)
        forward = np.where(
            on_ground,
            self.reach * (1 - 2 * position / self.stance),
            self.reach * (2 * smooth - 1),
        )
        # The foot leaves the ground heel first and is highest early in its swing.
        lift = self.lift * np.sin(np.pi * swing**0.7) ** 1.3
        push_off = np.clip((position / self.stance - 0.7) / 0.3, 0, 1) * on_ground
        poses[:, C[f'{side}_foot_forward']] = forward
        poses[:, C[f'{side}_foot_up']] = lift + 0.06 * push_off
        poses[:, C[f'{side}_foot_pitch']] = 0.5 * push_off + (1.0 - 1.25 * swing) * (
            ~on_ground
        ) * (1.0 if self.running else 0.6)


def walk(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Walk at any pace, arms swinging against the legs."""
    gait = Gait(
        running=False,
        frequency=rng.uniform(0.75, 1.1),
        phase=rng.uniform(0, 1),
        reach=rng.uniform(0.3, 0.42),
        stance=rng.uniform(0.58, 0.64),
        lift=rng.uniform(0.1, 0.18),
        bob=rng.uniform(0.008, 0.02),
        pitch=rng.uniform(0.0, 0.12),
        arm_swing=rng.uniform(0.15, 0.42),
        elbow_lift=rng.uniform(0.0, 0.15),
    )
    return _on_foot(gait, duration_sec)


def run(rng: np.random.Generator, duration_sec: float) -> Motion:
    """Run: both feet off the ground between steps, elbows bent, knees high."""
    gait = Gait(
        running=True,
        frequency=rng.uniform(1.25, 1.65),
        phase=rng.uniform(0, 1),
        reach=rng.uniform(0.38, 0.52),
        stance=rng.uniform(0.34, 0.42),
        lift=rng.uniform(0.38, 0.55),
        bob=rng.uniform(0.04, 0.075),
        pitch=rng.uniform(0.12, 0.32),
        arm_swing=rng.uniform(0.3, 0.5),
        elbow_lift=rng.uniform(0.8, 1.1),
    )
    return _on_foot(gait, duration_sec)


def _on_foot(gait: Gait, duration_sec: float) -> Motion:
    activity = activity_id('running' if gait.running else 'walking')
    return Motion(
        gait,
        cycles(-gait.phase / gait.frequency, duration_sec, 1 / gait.frequency),
        lambda times_sec: np.full(len(times_sec), activity),
    )
