"""Seats, furniture beside people, and what stands between them and the camera."""

from collections.abc import Callable
from dataclasses import dataclass

from mtl_training.data.synthetic.outfits import CLOTH_COLOURS
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import Colour, Layer, Part, shade
import numpy as np

# World points [..., 3] -> pixels [T, ..., 2] and depths [T, ...].
Project = Callable[[Array], tuple[Array, Array]]

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)], float)
# Corners of each face, counter-clockwise as seen from outside, and how much light it gets.
_FACES: tuple[tuple[tuple[int, int, int, int], float], ...] = (
    ((0, 1, 3, 2), 0.75),
    ((4, 6, 7, 5), 0.85),
    ((0, 4, 5, 1), 0.95),
    ((2, 3, 7, 6), 0.7),
    ((1, 5, 7, 3), 1.15),
)


@dataclass(frozen=True)
class Box:
    """A box on the ground or above it; metres in the world."""

    centre: tuple[float, float, float]  # of its lower face
    size: tuple[float, float, float]
    heading: float
    colour: Colour
    nearer: float = 0.0  # drawn as if this much nearer

    def part(self, project: Project) -> Part:
        """Return the visible faces."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        local = _CORNERS * np.array([self.size[0] / 2, self.size[1] / 2, self.size[2]])
        turned = np.stack(
            [local[:, 0] * cos - local[:, 1] * sin, local[:, 0] * sin + local[:, 1] * cos,
             local[:, 2]], axis=-1,
        )  # fmt: skip
        pixels, depth = project(turned + np.array(self.centre))
        layers = []
        for corners, light in _FACES:
            face = pixels[:, list(corners)]
            layers.append(Layer(face, shade(self.colour, light), _turn(face) < 0))
        return Part(depth.mean(1) - self.nearer, layers)


def _turn(face: Array) -> Array:
    """Return twice the signed area of quadrilaterals, ``[T]``."""
    first, second = face[:, 2] - face[:, 0], face[:, 3] - face[:, 1]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


@dataclass(frozen=True)
class Seat:
    """Something to sit on, where the hips of a sitting person come down."""

    boxes: tuple[Box, ...]

    @staticmethod
    def sample(
        rng: np.random.Generator, place: tuple[float, float], heading: float, height: float
    ) -> 'Seat':
        """
        Draw a block, a stool or a chair.

        :param place: Of its middle on the ground, metres.
        :param heading: Where somebody on it looks, radians.
        :param height: Of the seat, metres.
        """
        kind = rng.choice(['block', 'stool', 'chair'])
        base = np.array(CLOTH_COLOURS[str(rng.choice(list(CLOTH_COLOURS)))])
        colour: Colour = tuple(np.clip(base * 0.8 + rng.normal(0, 12, 3), 10, 245))  # type: ignore
        width, depth = rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.44)

        def at(forward: float, left: float, up: float) -> tuple[float, float, float]:
            x = place[0] + forward * np.sin(heading) + left * np.cos(heading)
            y = place[1] - forward * np.cos(heading) + left * np.sin(heading)
            return float(x), float(y), up

        def box(centre: tuple[float, float, float], size: tuple[float, float, float],
                nearer: float) -> Box:  # fmt: skip
            return Box(centre, size, heading, colour, nearer)

        if kind == 'block':
            return Seat((box(at(0, 0, 0), (width, depth, height), -0.25),))
        thin = 0.05
        boxes = [box(at(0, 0, height - thin), (width, depth, thin), -0.2)]
        legs = [(f * depth * 0.42, s * width * 0.42) for f in (-1, 1) for s in (-1, 1)]
        boxes += [box(at(f, s, 0), (0.04, 0.04, height - thin), -0.25) for f, s in legs]
        if kind == 'chair':
            back = box(at(-depth / 2 - 0.05, 0, height), (width, 0.04, 0.42), 0.0)
            boxes.append(back)
        return Seat(tuple(boxes))


@dataclass(frozen=True)
class Occluder:
    """A pole or a box in front of everybody, fixed in the picture but for the camera's motion."""

    corners: Array  # [4, 2], picture coordinates
    colour: Colour

    @staticmethod
    def sample(rng: np.random.Generator, main_low: Array, main_high: Array) -> 'Occluder':
        """
        Draw one that hides little of the main person.

        :param main_low: Upper left of what the main person covers, picture coordinates.
        :param main_high: Lower right.
        """
        base = np.array(CLOTH_COLOURS[str(rng.choice(list(CLOTH_COLOURS)))])
        colour: Colour = tuple(np.clip(base * rng.uniform(0.5, 1.0), 8, 245))  # type: ignore
        extent = main_high - main_low
        kind = rng.choice(['pole', 'counter', 'corner'])
        if kind == 'pole':
            x = rng.uniform(main_low[0] - 0.3, main_high[0] + 0.3)
            half = rng.uniform(0.01, 0.028)
            low, high = np.array([x - half, -1.5]), np.array([x + half, 1.5])
        elif kind == 'counter':
            top = main_high[1] - rng.uniform(0.06, 0.2) * extent[1]
            left = rng.uniform(-1.2, 0.0)
            low, high = np.array([left, top]), np.array([left + rng.uniform(0.4, 1.6), 1.5])
        else:
            edge = main_low[0] + rng.uniform(-0.1, 0.2) * extent[0]
            low, high = np.array([-1.8, -1.5 + rng.uniform(0, 1.9)]), np.array([edge, 1.5])
            if rng.random() < 0.5:
                middle = main_low[0] + main_high[0]
                low[0], high[0] = middle - high[0], 1.8
        slant = rng.normal(0, 0.02)
        corners = np.array(
            [[low[0] + slant, low[1]], [high[0] + slant, low[1]], [high[0], high[1]],
             [low[0], high[1]]]
        )  # fmt: skip
        return Occluder(corners, colour)

    def layers(self, pixels: Array) -> list[Layer]:
        """Return its outline and a lit strip; ``pixels`` are the corners in the image."""
        inner = pixels.copy()
        inner[:, 1] = 0.45 * pixels[:, 0] + 0.55 * pixels[:, 1]
        inner[:, 2] = 0.45 * pixels[:, 3] + 0.55 * pixels[:, 2]
        return [Layer(pixels, shade(self.colour, 0.85)), Layer(inner, shade(self.colour, 1.1))]
