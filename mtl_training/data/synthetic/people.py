"""A person in a scene: body, clothes, motion and place."""

from dataclasses import dataclass

from mtl_training.data.synthetic.action_motions import ACTION_MOTIONS, idle, sit_down, stand_up
from mtl_training.data.synthetic.gesture_motions import GESTURE_MOTIONS
from mtl_training.data.synthetic.motion import Motion
from mtl_training.data.synthetic.outfits import Outfit
from mtl_training.data.synthetic.poses import Array, C, Sway
from mtl_training.data.synthetic.props import Seat
from mtl_training.data.synthetic.skeleton import Body, forward_kinematics
import numpy as np

_SEATED = {'sit_down': sit_down, 'stand_up': stand_up}


@dataclass(frozen=True)
class Person:
    """Somebody, for the length of a scene."""

    body: Body
    outfit: Outfit
    motion: Motion
    sway: Sway
    place: tuple[float, float]  # on the ground, metres
    heading: float  # radians; 0 faces the camera, positive turns to the person's left
    travels: bool = False  # whether steps move the person, or only the legs

    seat: Seat | None = None

    def poses(self, times_sec: Array) -> Array:
        """Return the pose channels at some times."""
        poses = self.motion.track(times_sec) + self.sway(times_sec)
        if not self.travels:
            poses[:, C['path']] = 0.0
        return poses

    def joints(self, times_sec: Array) -> Array:
        """Return the joints in the world, ``[T, J, 3]``, metres."""
        local = forward_kinematics(self.body, self.poses(times_sec))
        return local @ self.axes() + np.array([*self.place, 0.0])

    def axes(self) -> Array:
        """Return where forward, left and up point in the world, as rows."""
        sin, cos = np.sin(self.heading), np.cos(self.heading)
        return np.array([[sin, -cos, 0.0], [cos, sin, 0.0], [0.0, 0.0, 1.0]])


def sample_person(
    rng: np.random.Generator,
    label: str | None,
    duration_sec: float,
    place: tuple[float, float],
    heading: float,
) -> Person:
    """
    Draw a person who does what a label says, or nothing in particular.

    :param label: An action, a gesture or None.
    """
    body, outfit = Body.sample(rng), Outfit.sample(rng)
    hips = rng.uniform(0.44, 0.58)  # of somebody who sits, leg lengths
    sits = label in _SEATED or (label is None and rng.random() < 0.3)
    if label in _SEATED:
        motion = _SEATED[label](rng, duration_sec, hips)
    elif label is None:
        motion = idle(rng, duration_sec, hips if sits else None)
    else:
        motion = {**ACTION_MOTIONS, **GESTURE_MOTIONS}[label](rng, duration_sec)
    # A few people have a seat behind them and do not use it.
    has_seat = sits or (label not in ('walk', 'run', None) and rng.random() < 0.12)
    seat = seat_behind(rng, body, place, heading, hips) if has_seat else None
    sway = Sway.sample(rng, 0.6 if label in ('walk', 'run') else 1.0)
    return Person(body, outfit, motion, sway, place, heading, seat=seat)


def seat_behind(
    rng: np.random.Generator,
    body: Body,
    place: tuple[float, float],
    heading: float,
    hips: float,
) -> Seat:
    """
    Draw a seat that somebody's hips meet.

    :param place: Of the person's feet on the ground, metres.
    :param heading: Of the person, radians.
    :param hips: Their height when the person sits, leg lengths.
    """
    behind = 0.52 * body.leg
    middle = (place[0] - behind * np.sin(heading), place[1] + behind * np.cos(heading))
    height = hips * body.leg + body.ankle - 0.055 * body.height * body.girth
    return Seat.sample(rng, middle, heading, height)
