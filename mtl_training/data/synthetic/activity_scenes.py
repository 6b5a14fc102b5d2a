"""Scenes of people who each walk, run, sit or stand, some of them in front of others."""

from dataclasses import dataclass, replace

from mtl_training.data.synthetic.action_motions import idle
from mtl_training.data.synthetic.camera import Camera, HALF_HEIGHT, Handheld
from mtl_training.data.synthetic.captions import make_activity_caption
from mtl_training.data.synthetic.effects import Effects
from mtl_training.data.synthetic.gaits import Gait, run, walk
from mtl_training.data.synthetic.labels import ACTIVITIES, ACTIVITY
from mtl_training.data.synthetic.outfits import Outfit
from mtl_training.data.synthetic.people import Person, seat_behind
from mtl_training.data.synthetic.poses import Array, Sway
from mtl_training.data.synthetic.props import Occluder
from mtl_training.data.synthetic.scene import MAX_PEOPLE, Scene, scene_rng
from mtl_training.data.synthetic.skeleton import Body
from mtl_training.data.synthetic.surroundings import PLACES, Surroundings
import numpy as np

EARLIEST_SEC = 1.2  # of a moment; so much of a scene has always gone before it
_TALLEST = 1.85  # metres, of what the camera makes room for
_SMALLEST, _LARGEST = 0.27, 0.95  # heights of people who stand, of the picture's height
_OVERLAPPING = 0.28  # share of the scenes in which somebody is put in front of somebody else
_NEAREST_DEPTH = 1.3  # metres; nobody comes nearer to the camera


def moment_of(seed: int, duration_sec: float) -> float:
    """
    Return when a frame is taken of the scene of a seed.

    Whoever walks or runs through a scene of activities is in the picture then.
    """
    return float(scene_rng(seed, 'window').uniform(EARLIEST_SEC, duration_sec))


def sample_activity_scene(seed: int, num_people: int | None = None) -> Scene:
    """
    Draw a scene in which each person has an activity, all equally likely.

    :param seed: Any integer from 0; the same arguments give the same scene.
    :param num_people: 1 to 4; by default random.
    :raises ValueError: If an argument is out of range.
    """
    if seed < 0:
        raise ValueError(f'seed must not be negative, got {seed}.')
    if num_people is not None and not 1 <= num_people <= MAX_PEOPLE:
        raise ValueError(f'num_people must be 1 to {MAX_PEOPLE}, got {num_people}.')
    people_rng, camera_rng, place_rng = (
        scene_rng(seed, draw) for draw in ('people', 'camera', 'place')
    )
    if num_people is None:
        num_people = int(people_rng.choice([1, 2, 3, 4], p=[0.25, 0.3, 0.25, 0.2]))
    duration = float(people_rng.uniform(3.5, 4.5))
    moment = moment_of(seed, duration)
    activities = [str(people_rng.choice(ACTIVITIES)) for _ in range(num_people)]
    cast = [_Role.sample(people_rng, activity, duration) for activity in activities]
    camera, largest = _sample_camera(camera_rng)
    spots = _spots(camera_rng, num_people, largest)
    ways = [_Way.sample(people_rng, camera, spot, role, (moment, duration))
            for spot, role in zip(spots, cast)]  # fmt: skip
    # A camera may go along with the first person, sideways.
    follows = ways[0].travels and people_rng.random() < 0.4
    velocity = (ways[0].velocity[0], 0.0) if follows else (0.0, 0.0)
    people = tuple(
        role.placed(people_rng, way, way.start(moment, velocity)) for role, way in zip(cast, ways)
    )
    surroundings = Surroundings.sample(place_rng, _farthest(people, duration) + 0.8)
    return Scene(
        seed=seed,
        task=ACTIVITY,
        label=None,
        duration_sec=duration,
        people=people,
        camera=camera,
        handheld=Handheld.sample(camera_rng),
        camera_velocity=velocity,
        surroundings=surroundings,
        occluders=_occluders(place_rng, camera, people[0], moment, velocity),
        effects=Effects.sample(scene_rng(seed, 'effects')),
        caption=make_activity_caption(activities, PLACES[surroundings.wall]),
    )


@dataclass(frozen=True)
class _Spot:
    """Where somebody is in the picture at the scene's moment."""

    x: float  # picture coordinates
    height: float  # of somebody who stands there, picture units


@dataclass(frozen=True)
class _Role:
    """Somebody who has an activity, and no place yet."""

    person: Person
    hips: float | None  # height of somebody who sits, leg lengths

    @staticmethod
    def sample(rng: np.random.Generator, activity: str, duration_sec: float) -> '_Role':
        body, outfit = Body.sample(rng), Outfit.sample(rng)
        hips = float(rng.uniform(0.44, 0.58)) if activity == 'sitting' else None
        on_foot = {'walking': walk, 'running': run}.get(activity)
        motion = on_foot(rng, duration_sec) if on_foot else idle(rng, duration_sec, hips)
        sway = Sway.sample(rng, 0.6 if on_foot else 1.0)
        return _Role(Person(body, outfit, motion, sway, (0.0, 0.0), 0.0), hips)

    @property
    def speed(self) -> float:
        """Metres per second."""
        track = self.person.motion.track
        return track.speed * self.person.body.leg if isinstance(track, Gait) else 0.0

    def placed(self, rng: np.random.Generator, way: '_Way', start: tuple[float, float]) -> Person:
        seat = None
        if self.hips is not None:
            seat = seat_behind(rng, self.person.body, start, way.heading, self.hips)
        return replace(
            self.person, place=start, heading=way.heading, travels=way.travels, seat=seat
        )


@dataclass(frozen=True)
class _Way:
    """Where somebody is at the scene's moment (metres), and where to and how fast."""

    place: tuple[float, float]
    heading: float
    speed: float
    travels: bool

    @staticmethod
    def sample(
        rng: np.random.Generator,
        camera: Camera,
        spot: _Spot,
        role: _Role,
        times_sec: tuple[float, float],
    ) -> '_Way':
        """Draw a heading; ``times_sec`` are the scene's moment and its end."""
        depth = camera.focal * role.person.body.height / spot.height
        x = (spot.x - camera.centre[0]) / camera.focal * depth
        # Half way up the body the depth is that of the spot.
        rise = 0.5 * role.person.body.height - camera.height
        away = (depth + rise * np.sin(camera.pitch)) / np.cos(camera.pitch) - camera.distance
        # Some stay on the spot, as on a treadmill.
        travels = role.speed > 0 and rng.random() < 0.85
        speed = role.speed if travels else 0.0
        heading = _heading(rng, speed, depth, times_sec)
        return _Way((float(x), float(away)), heading, speed, travels)

    @property
    def velocity(self) -> tuple[float, float]:
        """Over the ground, metres per second."""
        along = self.speed * np.array([np.sin(self.heading), -np.cos(self.heading)])
        return float(along[0]), float(along[1])

    def start(self, moment: float, followed: tuple[float, float]) -> tuple[float, float]:
        """Return the place at the start of a scene whose camera moves at some velocity."""
        x, y = (
            at - moment * (own - camera)
            for at, own, camera in zip(self.place, self.velocity, followed)
        )
        return x, y


def _heading(
    rng: np.random.Generator, speed: float, depth: float, times_sec: tuple[float, float]
) -> float:
    """Draw a heading, sideways for those who would otherwise walk into the camera."""
    moment, end = times_sec
    for _ in range(4):
        heading = float(rng.uniform(-np.pi, np.pi))
        change = -speed * np.cos(heading) * np.array([-moment, end - moment])
        if depth + change.min() > _NEAREST_DEPTH:
            return heading
    return float(rng.choice([-1, 1]) * np.pi / 2)


def _sample_camera(rng: np.random.Generator) -> tuple[Camera, float]:
    """Return a camera, and the height (picture units) of somebody who stands where it looks."""
    camera = Camera.sample(rng, _TALLEST)
    largest = float(rng.uniform(0.45, _LARGEST))
    at, _ = camera.project(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, _TALLEST]]))
    focal = largest / float(np.ptp(at[:, 1]))
    slack = min(HALF_HEIGHT - largest / 2, 0.12)
    y = float(rng.uniform(-slack, slack)) - focal * float(at[:, 1].mean())
    return replace(camera, focal=focal, centre=(float(rng.uniform(-0.05, 0.05)), y)), largest


def _spots(rng: np.random.Generator, num_people: int, largest: float) -> list[_Spot]:
    """Spread people over the picture, but put the second before or behind the first at times."""
    spots = [_Spot(float(rng.uniform(-0.4, 0.4)), largest * float(rng.uniform(0.85, 1.0)))]
    if num_people > 1 and rng.random() < _OVERLAPPING:
        first = spots[0]
        height = first.height * float(rng.uniform(0.72, 0.88))
        aside = float(rng.choice([-1, 1]) * rng.uniform(0.04, 0.14)) * first.height
        spots.append(_Spot(first.x + aside, height))
    while len(spots) < num_people:
        height = float(rng.uniform(_SMALLEST, largest))
        candidates = rng.uniform(-0.56, 0.56, 8)
        gaps = [min(abs(x - spot.x) for spot in spots) for x in candidates]
        spots.append(_Spot(float(candidates[int(np.argmax(gaps))]), height))
    return spots


def _farthest(people: tuple[Person, ...], duration_sec: float) -> float:
    """Return how far behind the origin anybody comes, metres."""
    ends = np.array([0.0, duration_sec])
    return max(float(person.joints(ends)[..., 1].max()) for person in people)


def _occluders(
    rng: np.random.Generator,
    camera: Camera,
    person: Person,
    moment: float,
    followed: tuple[float, float],
) -> tuple[Occluder, ...]:
    """Draw what stands before the first person, if anything does."""
    if rng.random() >= 0.25:
        return ()
    joints: Array = person.joints(np.array([moment]))[0]
    joints[:, :2] -= moment * np.array(followed)
    at, _ = camera.project(joints)
    return (Occluder.sample(rng, at.min(0), at.max(0)),)
