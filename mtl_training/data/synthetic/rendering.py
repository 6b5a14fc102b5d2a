"""From a scene to images and their truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mtl_training.data.synthetic.camera import moved
from mtl_training.data.synthetic.effects import darken
from mtl_training.data.synthetic.figure import Figure, make_figure, Projection
from mtl_training.data.synthetic.labels import ACTIVITIES
from mtl_training.data.synthetic.people import Person
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.scene import Scene
from mtl_training.data.synthetic.shapes import bounds, draw, Image, Part
from mtl_training.data.synthetic.silhouettes import seen_areas
from mtl_training.data.synthetic.skeleton import JOINT
from mtl_training.data.synthetic.surroundings import Backdrop, picture_unit
from mtl_training.data.synthetic.visibility import keypoint_visibility
import numpy as np
from numpy.typing import NDArray

# Part of every cache's key: raise it whenever the same arguments give other pixels or truth.
RENDERER_VERSION = 3

_NEAREST = 0.5  # metres; what comes closer is not drawn
_FEET = [JOINT[f'{side}_{end}'] for side in ('left', 'right') for end in ('toe', 'heel')]


@dataclass(frozen=True)
class RenderedClip:
    """
    Images with all their truth; (0, 0) is the centre of the first pixel.

    ``keypoints`` are the 17 COCO joints as (x, y, visibility): 0 outside the image (their place
    is still right), 1 hidden by something or by the body itself, 2 visible. ``boxes`` enclose
    what is drawn of a person, clipped to the image; zeros for somebody outside it. The first
    person is the main one. ``activities`` hold at the newest frame, ``frame_activities`` (places
    in ``ACTIVITIES``) at each.
    """

    frames: Image  # uint8 [T, H, W, 3], RGB
    action: str | None
    gesture: str | None
    keypoints: NDArray[np.float32]  # [T, P, 17, 3]
    boxes: NDArray[np.float32]  # [T, P, 4], xyxy
    activities: list[str]  # [P]
    frame_activities: NDArray[np.int64]  # [T, P]
    caption: str
    areas: NDArray[np.float64] | None = None  # [T, P], of what is seen; only truth() counts it


@dataclass(frozen=True)
class _Staged:
    """Everything of a scene at some times, in pixels, before it is painted."""

    times: Array
    matrices: Array  # [T, 2, 3]
    seen: list[Projection]
    figures: list[Figure]
    seats: list[Part]
    occluders: list[Part]

    @property
    def parts(self) -> list[Part]:
        """What is drawn at its depth."""
        return [*self.seats, *(part for figure in self.figures for part in figure.parts)]

    @property
    def owners(self) -> list[int]:
        """Whom each of the parts belongs to; -1 nobody."""
        counts = [len(self.seats), *(len(figure.parts) for figure in self.figures)]
        return np.repeat(np.arange(-1, len(self.figures)), counts).tolist()  # type: ignore[no-any-return]


class SceneRenderer:
    """Render one scene at one size; paints the background once, for any number of calls."""

    def __init__(self, scene: Scene, size: tuple[int, int]) -> None:
        """
        Prepare a scene.

        :param scene: What to render.
        :param size: Height and width of the images, pixels; at least 16 each.
        """
        if min(size) < 16:
            raise ValueError(f'size must be at least 16 x 16, got {size[0]} x {size[1]}.')
        self.scene = scene
        self.size = size
        self._unit = picture_unit(size)
        self._corners = 5 if self._unit < 200 else 9
        self._lens = scene.effects.lens(self._unit)

    @cached_property
    def _backdrop(self) -> Backdrop:
        return self.scene.surroundings.paint(self.scene.camera, self._unit, self.size)

    def render(self, times_sec: Sequence[float] | Array) -> RenderedClip:
        """Render the images at some times (seconds from the start of the scene)."""
        staged = self._stage(times_sec)
        return self._truth(staged, self._paint(staged))

    def truth(self, times_sec: Sequence[float] | Array) -> RenderedClip:
        """
        Return what :meth:`render` knows, without painting, and the areas of what is seen.

        :return: The truth with no frames, ``[0, H, W, 3]``.
        """
        staged = self._stage(times_sec)
        areas = seen_areas(
            staged.parts, staged.owners, staged.occluders, len(staged.figures),
            self._order(staged), self.size,
        )  # fmt: skip
        nothing = np.empty((0, *self.size, 3), np.uint8)
        return replace(self._truth(staged, nothing), areas=areas)

    def _stage(self, times_sec: Sequence[float] | Array) -> _Staged:
        scene, times = self.scene, np.asarray(times_sec, dtype=np.float64)
        if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
            raise ValueError('times_sec must be a non-empty list of finite numbers.')
        matrices = self._matrices(times)
        seen = [self._project_person(person, times, matrices) for person in scene.people]
        figures = [
            make_figure(person.body, person.outfit, projection, self._corners)
            for person, projection in zip(scene.people, seen)
        ]
        seats, occluders = self._seats(times, matrices), self._occluders(matrices)
        return _Staged(times, matrices, seen, figures, seats, occluders)

    def _truth(self, staged: _Staged, frames: Image) -> RenderedClip:
        scene, times = self.scene, staged.times
        activities = _people(
            [person.motion.activities(times) for person in scene.people], (len(times),), np.int64
        )
        pixels = _people([seen.pixels[:, :17] for seen in staged.seen], (len(times), 17, 2))
        depths = _people([seen.depth[:, :17] for seen in staged.seen], (len(times), 17))
        screens = staged.seats + staged.occluders
        visible = keypoint_visibility(pixels, depths, staged.figures, screens, self.size)
        return RenderedClip(
            frames=frames,
            action=scene.label if scene.task == 'action' else None,
            gesture=scene.label if scene.task == 'gesture' else None,
            keypoints=np.concatenate([pixels, visible[..., None]], axis=-1).astype(np.float32),
            boxes=_people(
                [self._boxes(figure, len(times)) for figure in staged.figures],
                (len(times), 4),
                np.float32,
            ),
            activities=[ACTIVITIES[index] for index in activities[-1]],
            frame_activities=activities,
            caption=scene.caption,
        )

    def _matrices(self, times: Array) -> Array:
        """Return the maps from picture coordinates to pixels, ``[T, 2, 3]``."""
        matrices = self._unit * self.scene.handheld.matrices(times, self.scene.duration_sec)
        matrices[:, :, 2] += np.array([(self.size[1] - 1) / 2, (self.size[0] - 1) / 2])
        return matrices

    def _project(self, points: Array, times: Array, matrices: Array) -> tuple[Array, Array]:
        """Project points ``[T or 1, ..., 3]`` from the camera that follows somebody."""
        shape = (len(times), *points.shape[1:])
        world = np.array(np.broadcast_to(points, shape))
        followed = times[:, None] * np.array(self.scene.camera_velocity)
        world[..., :2] -= followed.reshape(len(times), *[1] * (world.ndim - 2), 2)
        at, depth = self.scene.camera.project(world)
        return moved(at, matrices), depth

    def _project_person(self, person: Person, times: Array, matrices: Array) -> Projection:
        pixels, depth = self._project(person.joints(times), times, matrices)
        return Projection(pixels, depth, self._unit * self.scene.camera.focal / depth)

    def _boxes(self, figure: Figure, num_frames: int) -> NDArray[np.float32]:
        boxes = bounds(figure.parts, num_frames)
        height, width = self.size
        boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
        outside = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
        boxes[outside] = 0
        return boxes.astype(np.float32)

    def _occluders(self, matrices: Array) -> list[Part]:
        at_lens = np.zeros(len(matrices))
        return [
            Part(
                at_lens,
                occluder.layers(moved(np.tile(occluder.corners, (len(matrices), 1, 1)), matrices)),
            )
            for occluder in self.scene.occluders
        ]

    def _order(self, staged: _Staged) -> list[list[int]]:
        """Return which parts are drawn at each time, the farthest first."""
        parts = staged.parts
        depths = np.array([part.depth for part in parts]).reshape(len(parts), len(staged.times))
        order = np.argsort(-depths, axis=0, kind='stable')
        return [
            [index for index in order[:, t] if depths[index, t] > _NEAREST]
            for t in range(len(staged.times))
        ]

    def _paint(self, staged: _Staged) -> Image:
        scene, times, matrices = self.scene, staged.times, staged.matrices
        parts, order = staged.parts, self._order(staged)
        shadows = [self._shadow(person, times, matrices) for person in scene.people]
        pan = self._pan(times)
        frames = np.empty((len(times), *self.size, 3), np.uint8)
        for t, time_sec in enumerate(times):
            image = self._backdrop.frame(float(time_sec), matrices[t], self.size, float(pan[t]))
            for middle, half_axes in shadows:
                darken(image, middle[t], half_axes[t], scene.effects.shadow)
            for index in order[t]:
                draw(image, parts[index], t)
            for part in staged.occluders:
                draw(image, part, t)
            frames[t] = scene.effects.apply(image, float(time_sec), self._lens)
        return frames

    def _pan(self, times: Array) -> Array:
        camera = self.scene.camera
        wall = self.scene.surroundings.wall_y + camera.distance
        return times * self.scene.camera_velocity[0] * camera.focal / wall

    def _seats(self, times: Array, matrices: Array) -> list[Part]:
        def project(points: Array) -> tuple[Array, Array]:
            return self._project(points[None], times, matrices)

        seats = [person.seat for person in self.scene.people if person.seat is not None]
        return [box.part(project) for seat in seats for box in seat.boxes]

    def _shadow(self, person: Person, times: Array, matrices: Array) -> tuple[Array, Array]:
        """Return middle and half axes of the shadow on the ground under the feet, pixels."""
        feet = person.joints(times)[:, _FEET]
        feet[..., 2] = 0.0
        pixels, depth = self._project(feet, times, matrices)
        scale = self._unit * self.scene.camera.focal / depth.mean(1)
        wide = np.ptp(pixels[..., 0], axis=1) / 2 + scale * 0.11
        deep = np.ptp(pixels[..., 1], axis=1) / 2 + scale * 0.03
        return pixels.mean(1), np.stack([wide, deep], axis=-1)


def _people(
    values: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: type = np.float64
) -> NDArray[Any]:
    """Stack what there is of each person along the second axis; there may be nobody."""
    return np.stack(values, axis=1) if values else np.empty((shape[0], 0, *shape[1:]), dtype)


def render(
    scene: Scene, times_sec: Sequence[float] | Array, size: tuple[int, int]
) -> RenderedClip:
    """
    Render a scene.

    :param scene: What to render.
    :param times_sec: Times from the start of the scene, seconds; any order, any number.
    :param size: Height and width, pixels.
    :return: The images and their truth; equal for equal arguments.
    :raises ValueError: If ``times_sec`` is empty or not finite, or ``size`` too small.
    """
    return SceneRenderer(scene, size).render(times_sec)
