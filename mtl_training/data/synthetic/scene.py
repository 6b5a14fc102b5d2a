"""A scene: everything that a seed decides, before a single pixel is painted."""

from dataclasses import dataclass, replace

from mtl_training.data.synthetic.camera import Camera, Handheld
from mtl_training.data.synthetic.captions import (
    make_caption,
    make_empty_caption,
    make_motion_caption,
)
from mtl_training.data.synthetic.effects import Effects
from mtl_training.data.synthetic.gaits import Gait
from mtl_training.data.synthetic.labels import TASK_LABELS, task_of
from mtl_training.data.synthetic.motion import NEARLY_WHOLE
from mtl_training.data.synthetic.people import Person, sample_person
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.props import Occluder
from mtl_training.data.synthetic.skeleton import JOINT
from mtl_training.data.synthetic.surroundings import PLACES, Surroundings
import numpy as np

MAX_PEOPLE = 4
_MARGIN = 0.08  # margin around the joints that the camera frames, of the body's height
# Each is drawn from its own stream of random numbers.
_DRAWS = ('people', 'camera', 'place', 'effects', 'words', 'label', 'window')


def scene_rng(seed: int, draw: str) -> np.random.Generator:
    """Return the random numbers of one part of a scene; those of other parts are independent."""
    # Numbered from 1: a zero at the end would give the stream of another, longer seed.
    return np.random.default_rng([seed, 1 + _DRAWS.index(draw)])


@dataclass(frozen=True)
class Scene:
    """
    A few seconds of one person doing what the label says, and of others who stay idle.

    The first person is the main one; an empty place has nobody. ``camera_velocity`` (metres per
    second over the ground) is that of a camera which follows somebody who walks or runs.
    """

    seed: int
    task: str | None
    label: str | None
    duration_sec: float
    people: tuple[Person, ...]
    camera: Camera
    handheld: Handheld
    camera_velocity: tuple[float, float]
    surroundings: Surroundings
    occluders: tuple[Occluder, ...]
    effects: Effects
    caption: str

    @staticmethod
    def sample(
        seed: int,
        *,
        task: str | None = None,
        label: str | None = None,
        num_people: int | None = None,
    ) -> 'Scene':
        """
        Draw a scene; the same arguments give the same scene.

        :param seed: Any integer from 0.
        :param task: ``'action'``, ``'gesture'`` or None: the task of the label, and without a
            label a scene in which nobody does anything of either task.
        :param label: One of the task's labels; by default a random one.
        :param num_people: 1 to 4; by default random. Without a task also 0: the place where
            somebody would be, with nobody in it.
        :raises ValueError: If an argument is unknown or out of range.
        """
        task, label = _checked(seed, task, label, num_people)
        rngs = {draw: scene_rng(seed, draw) for draw in _DRAWS}
        if task is not None and label is None:
            label = str(rngs['label'].choice(TASK_LABELS[task]))
        if num_people is None:
            num_people = int(rngs['people'].choice([1, 2, 3, 4], p=[0.45, 0.27, 0.17, 0.11]))
        return _compose(seed, task, label, num_people, rngs)

    @property
    def motion_caption(self) -> str:
        """The sentence that says what somebody does, and not who or where."""
        if not self.people:
            return self.caption
        return make_motion_caption(scene_rng(self.seed, 'words'), self.label)

    def window(self, rng: np.random.Generator | float, clip_seconds: float) -> float:
        """
        Return the start of a window that shows the labelled motion nearly whole.

        :param rng: A generator, or how far to go through all such starts, from 0 to 1.
        :param clip_seconds: Length of the window.
        :return: Seconds from the start of the scene.
        """
        starts = self.window_starts(clip_seconds)
        share = rng.random() if isinstance(rng, np.random.Generator) else float(rng)
        return float(starts[min(int(share * len(starts)), len(starts) - 1)])

    def window_starts(self, clip_seconds: float) -> Array:
        """
        Return all starts, 10 ms apart, whose window shows at least 80 % of an execution.

        :raises ValueError: If the scene is shorter than the window, or no window shows that much.
        """
        latest = self.duration_sec - clip_seconds
        if latest < 0:
            raise ValueError(
                f'clip_seconds must be at most the scene’s {self.duration_sec:.2f}, '
                f'got {clip_seconds}.'
            )
        starts = np.linspace(0.0, latest, max(int(latest * 100), 1) + 1)
        good = [start for start in starts if self.is_recognizable(start, clip_seconds)]
        if not good:
            raise ValueError(
                f"clip_seconds must leave room for '{self.label}', got {clip_seconds}."
            )
        return np.array(good)

    def is_recognizable(self, start_sec: float, clip_seconds: float) -> bool:
        """Tell whether a window shows the labelled motion nearly whole."""
        end = start_sec + clip_seconds
        if start_sec < -1e-9 or end > self.duration_sec + 1e-9:
            return False
        if self.label is None:
            return True
        return bool(self.people[0].motion.shown(start_sec, end) >= NEARLY_WHOLE)


def _checked(
    seed: int, task: str | None, label: str | None, num_people: int | None
) -> tuple[str | None, str | None]:
    if seed < 0:
        raise ValueError(f'seed must not be negative, got {seed}.')
    if task is not None and task not in TASK_LABELS:
        raise ValueError(f"task must be one of {sorted(TASK_LABELS)} or None, got '{task}'.")
    if label is not None:
        if task not in (None, task_of(label)):
            raise ValueError(f"label '{label}' belongs to task '{task_of(label)}', not '{task}'.")
        task = task_of(label)
    fewest = 0 if task is None else 1
    if num_people is not None and not fewest <= num_people <= MAX_PEOPLE:
        raise ValueError(f'num_people must be {fewest} to {MAX_PEOPLE}, got {num_people}.')
    return task, label


def _compose(
    seed: int,
    task: str | None,
    label: str | None,
    num_people: int,
    rngs: dict[str, np.random.Generator],
) -> Scene:
    people_rng, camera_rng = rngs['people'], rngs['camera']
    # What happens once stays in the middle of most windows of a shorter scene.
    longest = 3.8 if label in ('sit_down', 'stand_up') else 4.5
    duration = float(people_rng.uniform(3.5, longest))
    heading = _heading(people_rng, task)
    main = sample_person(people_rng, label, duration, (0.0, 0.0), heading)
    main, velocity = _set_off(people_rng, main, duration)
    camera, points = _frame(camera_rng, main, task, duration, velocity)
    people = [main]
    for _ in range(num_people - 1):
        people.append(_sample_bystander(people_rng, camera, duration, people))
    wall = max(person.place[1] for person in people) + 0.8
    surroundings = Surroundings.sample(rngs['place'], wall)
    at, _ = camera.project(points)
    occluders = []
    if rngs['place'].random() < 0.25:
        occluders.append(Occluder.sample(rngs['place'], at.min(0), at.max(0)))
    place = PLACES[surroundings.wall]
    return Scene(
        seed=seed,
        task=task,
        label=label,
        duration_sec=duration,
        # The camera of an empty place frames where somebody would be.
        people=tuple(people[:num_people]),
        camera=camera,
        handheld=Handheld.sample(camera_rng),
        camera_velocity=velocity,
        surroundings=surroundings,
        occluders=tuple(occluders),
        effects=Effects.sample(rngs['effects']),
        caption=make_caption(rngs['words'], label, main.outfit, place, num_people - 1)
        if num_people
        else make_empty_caption(place),
    )


def _heading(rng: np.random.Generator, task: str | None) -> float:
    if task == 'action':
        # Half of the actions are seen from the side or obliquely, the rest from anywhere.
        side = rng.choice([-1, 1]) * rng.uniform(np.pi / 6, 5 * np.pi / 6)
        return float(side if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi))
    return float(np.clip(rng.normal(0, 0.3), -0.7, 0.7))


def _set_off(
    rng: np.random.Generator, main: Person, duration_sec: float
) -> tuple[Person, tuple[float, float]]:
    """Let a walker cross the picture before a camera that follows in part, or stay on the spot."""
    gait = main.motion.track
    if not isinstance(gait, Gait) or rng.random() < 0.35:
        return main, (0.0, 0.0)
    speed = gait.speed * main.body.leg
    side = 1.0 if rng.random() < 0.5 else -1.0
    heading = side * np.pi / 2 + rng.normal(0, 0.25)
    crossing = rng.uniform(0.0, 1.5) / (speed * duration_sec)  # share of the way
    forward = np.array([np.sin(heading), -np.cos(heading)])
    followed = (1 - crossing) * speed * forward
    start = -forward * speed * crossing * duration_sec / 2
    main = replace(
        main,
        heading=float(heading),
        travels=True,
        place=(float(start[0]), float(start[1])),
    )
    return main, (float(followed[0]), float(followed[1]))


def _frame(
    rng: np.random.Generator,
    main: Person,
    task: str | None,
    duration_sec: float,
    velocity: tuple[float, float],
) -> tuple[Camera, Array]:
    """Return a camera that frames the main person at all times, and the points it frames."""
    times = np.linspace(0.0, duration_sec, 40)
    joints = main.joints(times)
    joints[..., :2] -= times[:, None, None] * np.array(velocity)
    # People who gesture may be so near that their lower legs are not in the picture.
    near = task == 'gesture' and rng.random() < 0.25
    names = [name for name in JOINT if not near or name.split('_')[-1] not in _LOWER_LEG]
    points = joints[:, [JOINT[name] for name in names]].reshape(-1, 3)
    camera = Camera.sample(rng, main.body.height)
    return camera.framing(points, _MARGIN * main.body.height, rng), points


_LOWER_LEG = ('ankle', 'toe', 'heel')


def _sample_bystander(
    rng: np.random.Generator, camera: Camera, duration_sec: float, people: list[Person]
) -> Person:
    """Draw somebody idle behind the main person, not in line with the others."""
    taken = [camera.project(np.array([*person.place, 0.9]))[0][0] for person in people]
    x, best = 0.0, -1.0
    for candidate in rng.uniform(-0.6, 0.6, 8):
        gap = min(abs(candidate - other) for other in taken)
        if gap > best:
            x, best = candidate, gap
        if gap > 0.2:
            break
    away = people[0].place[1] + rng.uniform(0.28, 0.9) * camera.distance
    depth = (away + camera.distance) * np.cos(camera.pitch)
    place = (float((x - camera.centre[0]) / camera.focal * depth), float(away))
    return sample_person(rng, None, duration_sec, place, float(rng.uniform(-np.pi, np.pi)))
