"""Poses as rows of named channels, and smooth tracks through key poses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PoseTrack = Callable[[Array], Array]  # seconds [T] -> poses [T, len(CHANNELS)]

SIDES: tuple[tuple[str, int], ...] = (('left', 1), ('right', -1))

# Angles in radians; path, pelvis and feet in leg lengths, over the ground; hands in arm lengths
# from their shoulder, upright whatever the torso does. "out" is away from the body's middle.
CHANNELS: tuple[str, ...] = (
    'path',
    'turn',
    'pelvis_forward',
    'pelvis_left',
    'pelvis_up',
    'pitch',
    'roll',
    'twist',
    'head_yaw',
    'head_pitch',
    *(
        f'{side}_{channel}'
        for side, _ in SIDES
        for channel in (
            'hand_forward',
            'hand_out',
            'hand_up',
            'elbow_out',
            'wrist_up',
            'foot_forward',
            'foot_out',
            'foot_up',
            'foot_pitch',
        )
    ),
)
C = {name: index for index, name in enumerate(CHANNELS)}

_STANDING = {
    'pelvis_up': 0.985,
    'hand_forward': 0.05,
    'hand_out': 0.13,
    'hand_up': -0.96,
    'elbow_out': 0.5,
    'foot_out': 0.02,
}


def key_pose(base: Array | None = None, **channels: float) -> Array:
    """
    Return a copy of a pose with some channels changed.

    :param base: The pose to start from; by default standing with the arms down.
    :param channels: New values by channel; ``hand_up`` without a side sets both sides.
    :return: ``[len(CHANNELS)]``.
    """
    pose = np.zeros(len(CHANNELS)) if base is None else base.copy()
    for name, value in {**(_STANDING if base is None else {}), **channels}.items():
        for full_name in [name] if name in C else [f'{side}_{name}' for side, _ in SIDES]:
            pose[C[full_name]] = value
    return pose


def mirrored(poses: Array) -> Array:
    """Return poses with left and right exchanged."""
    result = poses.copy()
    for name, index in C.items():
        if name.startswith('left_'):
            other = C['right_' + name.removeprefix('left_')]
            result[..., index], result[..., other] = poses[..., other], poses[..., index]
    for name in ('turn', 'pelvis_left', 'roll', 'twist', 'head_yaw'):
        result[..., C[name]] *= -1
    return result


@dataclass(frozen=True)
class KeyTrack:
    """
    A smooth course through key poses that never overshoots them and rests at its ends.

    Monotone cubic interpolation (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984): the
    same course whether time runs forward or backward, which exact reversals rely on.
    """

    times: Array
    poses: Array
    slopes: Array

    @staticmethod
    def through(keys: Sequence[tuple[float, Array]]) -> 'KeyTrack':
        """Build the track through (seconds, pose) keys of increasing time; at least two."""
        times = np.array([time for time, _ in keys])
        poses = np.stack([pose for _, pose in keys])
        steps = np.diff(times)[:, None]
        secants = np.diff(poses, axis=0) / steps
        before, after = secants[:-1], secants[1:]
        weight_before = 2 * steps[1:] + steps[:-1]
        weight_after = steps[1:] + 2 * steps[:-1]
        slopes = np.zeros_like(poses)
        same_way = before * after > 0
        mean = (weight_before + weight_after) / (
            weight_before / np.where(same_way, before, 1.0)
            + weight_after / np.where(same_way, after, 1.0)
        )
        slopes[1:-1] = np.where(same_way, mean, 0.0)
        return KeyTrack(times, poses, slopes)

    def __call__(self, times_sec: Array) -> Array:
        """Return the poses at some times; before and after the keys the ends hold."""
        times = np.clip(times_sec, self.times[0], self.times[-1])
        i = np.clip(np.searchsorted(self.times, times, side='right') - 1, 0, len(self.times) - 2)
        step = (self.times[i + 1] - self.times[i])[:, None]
        s = (times - self.times[i])[:, None] / step
        course = self.poses[i] * (1 + 2 * s) * (1 - s) ** 2 + self.poses[i + 1] * s**2 * (
            3 - 2 * s
        )
        return course + step * s * (1 - s) * (self.slopes[i] * (1 - s) - self.slopes[i + 1] * s)


@dataclass(frozen=True)
class Sway:
    """What a body does all the time: breathe, shift its weight, look around."""

    channels: NDArray[np.intp]
    amplitudes: Array
    frequencies: Array
    phases: Array

    _SIZES = {
        'pelvis_left': 0.018,
        'pelvis_forward': 0.01,
        'pitch': 0.02,
        'roll': 0.02,
        'twist': 0.05,
        'head_yaw': 0.3,
        'head_pitch': 0.09,
        'left_hand_forward': 0.05,
        'left_hand_out': 0.035,
        'right_hand_forward': 0.05,
        'right_hand_out': 0.035,
    }

    @staticmethod
    def sample(rng: np.random.Generator, scale: float = 1.0) -> 'Sway':
        """Draw two slow waves for each channel that sways."""
        names = list(Sway._SIZES)
        sizes = np.array([Sway._SIZES[name] for name in names])
        return Sway(
            channels=np.array([C[name] for name in names]),
            amplitudes=scale * sizes * rng.uniform(0.2, 0.8, (2, len(names))),
            frequencies=rng.uniform([[0.1], [0.3]], [[0.3], [0.6]], (2, len(names))),
            phases=rng.uniform(0, 2 * np.pi, (2, len(names))),
        )

    def __call__(self, times_sec: Array) -> Array:
        """Return what to add to the poses at some times."""
        angles = 2 * np.pi * self.frequencies * times_sec[:, None, None] + self.phases
        offsets = np.zeros((len(times_sec), len(CHANNELS)))
        offsets[:, self.channels] = (self.amplitudes * np.sin(angles)).sum(1)
        return offsets
