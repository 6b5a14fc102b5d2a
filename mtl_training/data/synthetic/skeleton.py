"""Bodies and their forward kinematics: from pose channels to joints, vectorised over time."""

from dataclasses import dataclass

from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training.data.synthetic.poses import C, SIDES
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The COCO joints come first, in their order; the drawing needs a few more.
JOINTS: tuple[str, ...] = (
    *KEYPOINTS,
    'pelvis',
    'neck',
    'head',
    'left_hand',
    'right_hand',
    'left_toe',
    'right_toe',
    'left_heel',
    'right_heel',
)
JOINT = {name: index for index, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Body:
    """Segment lengths of one person, metres."""

    height: float
    thigh: float
    shin: float
    ankle: float
    torso: float
    neck: float
    head: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    hand: float
    foot: float
    girth: float  # factor on the thickness of torso and limbs

    @staticmethod
    def sample(rng: np.random.Generator) -> 'Body':
        """Draw the proportions of a child or an adult of any build."""
        height = float(np.clip(rng.normal(1.70, 0.13), 1.25, 2.0))

        def part(share: float, spread: float = 0.04) -> float:
            return float(height * share * np.clip(rng.normal(1.0, spread), 0.88, 1.12))

        return Body(
            height=height,
            thigh=part(0.24),
            shin=part(0.235),
            ankle=part(0.042),
            torso=part(0.285),
            neck=part(0.065),
            head=part(0.062) * (1.0 + 0.35 * max(0.0, 1.5 - height)),
            shoulder=part(0.108, 0.06),
            hip=part(0.055, 0.08),
            upper_arm=part(0.165),
            forearm=part(0.145),
            hand=part(0.075),
            foot=part(0.125),
            girth=float(np.clip(rng.normal(1.0, 0.15), 0.75, 1.4)),
        )

    @property
    def leg(self) -> float:
        """Length of the leg from hip to ankle, metres: the unit of hips and feet in a pose."""
        return self.thigh + self.shin

    @property
    def arm(self) -> float:
        """Length of the arm from shoulder to wrist, metres: the unit of hands in a pose."""
        return self.upper_arm + self.forearm


def _yaw(angle: Array, vectors: Array) -> Array:
    """Turn (forward, left, up) vectors to the left by ``angle``."""
    cos, sin = np.cos(angle), np.sin(angle)
    forward, left, up = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([forward * cos - left * sin, forward * sin + left * cos, up], axis=-1)


def _lean(pitch: Array, roll: Array, vectors: Array) -> Array:
    """Lean (forward, left, up) vectors forward by ``pitch`` and to the left by ``roll``."""
    forward, left, up = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    left, up = left * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - left * np.sin(roll)
    forward, up = (
        forward * np.cos(pitch) + up * np.sin(pitch),
        up * np.cos(pitch) - forward * np.sin(pitch),
    )
    return np.stack([forward, left, up], axis=-1)


def _reach(
    root: Array, target: Array, upper: float, lower: float, pole: Array
) -> tuple[Array, Array]:
    """
    Bend a two-bone limb from ``root`` towards ``target``, its middle joint towards ``pole``.

    :return: Middle and end joint; the end falls short where the target is out of reach.
    """
    offset = target - root
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    direction = offset / np.maximum(distance, 1e-6)
    reach = np.clip(distance, abs(upper - lower) + 0.25 * lower, (upper + lower) * 0.999)
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    pole = pole - (pole * direction).sum(-1, keepdims=True) * direction
    pole = pole / np.maximum(np.linalg.norm(pole, axis=-1, keepdims=True), 1e-6)
    return root + along * direction + aside * pole, root + reach * direction


def _column(*values: float | Array) -> Array:
    return np.stack(np.broadcast_arrays(*values), axis=-1)


def forward_kinematics(body: Body, poses: Array) -> Array:
    """
    Place every joint of one person, feet on the ground around the origin.

    :param body: Segment lengths.
    :param poses: Pose channels, ``[T, len(CHANNELS)]``; see :mod:`poses`.
    :return: Joints, ``[T, len(JOINTS), 3]`` as (forward, left, up) of the standing person, metres.
    """
    joints = np.zeros((len(poses), len(JOINTS), 3))
    channel = poses.T
    leg, turn = body.leg, channel[C['turn']]
    root = _column(channel[C['path']] * leg, 0.0, 0.0)
    pelvis = root + _yaw(
        turn,
        _column(
            channel[C['pelvis_forward']] * leg,
            channel[C['pelvis_left']] * leg,
            channel[C['pelvis_up']] * leg + body.ankle,
        ),
    )
    joints[:, JOINT['pelvis']] = pelvis
    _place_upper_body(joints, body, channel)
    for side, sign in SIDES:
        hip = pelvis + _yaw(turn, _column(0.0 * turn, sign * body.hip, 0.0))
        ankle = root + _yaw(
            turn,
            _column(
                channel[C[f'{side}_foot_forward']] * leg,
                sign * (body.hip * 1.1 + channel[C[f'{side}_foot_out']] * leg),
                channel[C[f'{side}_foot_up']] * leg + body.ankle,
            ),
        )
        knee_pole = _yaw(turn, _column(1.0 + 0.0 * turn, sign * 0.18, 0.0))
        knee, ankle = _reach(hip, ankle, body.thigh, body.shin, knee_pole)
        pitch = channel[C[f'{side}_foot_pitch']]
        sole = _lean(pitch, 0.0 * pitch, _column(1.0 + 0.0 * turn, 0.0, -0.28))
        heel = _lean(pitch, 0.0 * pitch, _column(-0.25 + 0.0 * turn, 0.0, -0.28))
        out = turn + sign * 0.2
        joints[:, JOINT[f'{side}_hip']] = hip
        joints[:, JOINT[f'{side}_knee']] = knee
        joints[:, JOINT[f'{side}_ankle']] = ankle
        joints[:, JOINT[f'{side}_toe']] = ankle + _yaw(out, sole * body.foot)
        joints[:, JOINT[f'{side}_heel']] = ankle + _yaw(out, heel * body.foot)
    return joints


def _place_upper_body(joints: Array, body: Body, channel: Array) -> None:
    facing = channel[C['turn']] + channel[C['twist']]
    pitch, roll = channel[C['pitch']], channel[C['roll']]
    zero = 0.0 * pitch

    def in_torso(*vector: float | Array) -> Array:
        return _yaw(facing, _lean(pitch, roll, _column(zero + vector[0], *vector[1:])))

    chest = joints[:, JOINT['pelvis']] + in_torso(0.0, 0.0, body.torso)
    neck = chest + in_torso(0.01, 0.0, body.neck * 0.5)
    joints[:, JOINT['neck']] = neck
    head_yaw = facing + channel[C['head_yaw']]
    nod = 0.6 * pitch + channel[C['head_pitch']]

    def in_head(*vector: float) -> Array:
        scaled = _column(zero + vector[0], *vector[1:]) * body.head
        return _yaw(head_yaw, _lean(nod, 0.5 * roll, scaled))

    head = neck + in_torso(0.015, 0.0, body.neck * 0.6) + in_head(0.15, 0.0, 1.0)
    joints[:, JOINT['head']] = head
    joints[:, JOINT['nose']] = head + in_head(1.0, 0.0, -0.15)
    for side, sign in SIDES:
        joints[:, JOINT[f'{side}_eye']] = head + in_head(0.85, sign * 0.38, 0.15)
        joints[:, JOINT[f'{side}_ear']] = head + in_head(0.0, sign * 0.95, 0.0)
        shoulder = chest + in_torso(0.0, sign * body.shoulder, -0.02)
        hand = _column(
            channel[C[f'{side}_hand_forward']],
            sign * channel[C[f'{side}_hand_out']],
            channel[C[f'{side}_hand_up']],
        )
        pole = _column(-0.5 + zero, sign * channel[C[f'{side}_elbow_out']], -0.6)
        elbow, wrist = _reach(
            shoulder,
            shoulder + _yaw(facing, hand * body.arm),
            body.upper_arm,
            body.forearm,
            _yaw(facing, pole),
        )
        along = (wrist - elbow) / body.forearm
        flex = channel[C[f'{side}_wrist_up']][:, None]
        fingers = along * np.cos(flex) + np.array([0.0, 0.0, 1.0]) * np.sin(flex)
        fingers /= np.linalg.norm(fingers, axis=-1, keepdims=True)
        joints[:, JOINT[f'{side}_shoulder']] = shoulder
        joints[:, JOINT[f'{side}_elbow']] = elbow
        joints[:, JOINT[f'{side}_wrist']] = wrist
        joints[:, JOINT[f'{side}_hand']] = wrist + fingers * body.hand
