"""A pinhole camera that frames a person, with a handheld shake and a slow pan."""

from dataclasses import dataclass

from mtl_training.data.synthetic.poses import Array
import numpy as np

# Picture coordinates: x right, y down, (0, 0) the middle of the image, in units of the image's
# height (of three quarters of its width where it is narrower than 4:3), so that a scene does not
# depend on the resolution it is rendered at. Up to here lies what a camera frames:
HALF_WIDTH, HALF_HEIGHT = 2 / 3, 0.5
_NEAREST = 0.4  # metres; what comes closer is not drawn


@dataclass(frozen=True)
class Camera:
    """
    Project the world (x right, y away from the camera, z up; metres) to picture coordinates.

    The camera stands at (0, -distance, height) and looks down by ``pitch``.
    """

    distance: float
    height: float
    pitch: float
    focal: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def sample(rng: np.random.Generator, body_height: float) -> 'Camera':
        """Draw a place for a camera that looks at somebody at the origin."""
        distance = rng.uniform(2.2, 6.0)
        height = rng.uniform(0.5, 1.8)
        aim = 0.5 * body_height
        return Camera(distance, height, float(np.arctan2(height - aim, distance)))

    def project(self, points: Array) -> tuple[Array, Array]:
        """
        Project points of the world.

        :param points: ``[..., 3]``.
        :return: Picture coordinates ``[..., 2]`` and depths ``[...]`` in metres.
        """
        away, up = points[..., 1] + self.distance, points[..., 2] - self.height
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        depth = np.maximum(away * cos - up * sin, _NEAREST)
        x = self.focal * points[..., 0] / depth + self.centre[0]
        y = -self.focal * (away * sin + up * cos) / depth + self.centre[1]
        return np.stack([x, y], axis=-1), depth

    def framing(self, points: Array, margin: float, rng: np.random.Generator) -> 'Camera':
        """
        Choose the focal length and the optical centre that frame some points.

        :param points: What shall lie within the image, ``[N, 3]``.
        :param margin: What to keep around them, metres.
        :param rng: Draws how large and where they appear.
        """
        at, depth = self.project(points)
        border = margin / depth[:, None]
        low, high = (at - border).min(0), (at + border).max(0)
        extent = high - low
        tall = rng.uniform(0.72, 0.94) * 2 * HALF_HEIGHT
        wide = 0.94 * 2 * HALF_WIDTH
        focal = float(min(tall / extent[1], wide / extent[0], 3.0))
        slack = np.maximum(np.array([HALF_WIDTH, HALF_HEIGHT]) * 0.96 - focal * extent / 2, 0.0)
        slack = np.minimum(slack, [0.32, 0.1])
        centre = rng.uniform(-slack, slack) - focal * (low + high) / 2
        return Camera(
            self.distance, self.height, self.pitch, focal, (float(centre[0]), float(centre[1]))
        )

    def ground_homography(self) -> Array:
        """Return the map from the ground (x, y, 1) to homogeneous picture coordinates."""
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        third = np.array([0.0, cos, self.distance * cos + self.height * sin])
        rise = np.array([0.0, sin, self.distance * sin - self.height * cos])
        first = np.array([self.focal, 0.0, 0.0]) + self.centre[0] * third
        second = -self.focal * rise + self.centre[1] * third
        return np.stack([first, second, third])


@dataclass(frozen=True)
class Handheld:
    """How the picture moves as a whole: shaken by a hand, or panned slowly."""

    pan: tuple[float, float]  # over the whole scene
    roll: float  # radians
    amplitudes: Array  # [waves, (x, y, roll)]
    frequencies: Array
    phases: Array

    @staticmethod
    def sample(rng: np.random.Generator) -> 'Handheld':
        """Draw a tripod, a slow pan or a shaking hand."""
        still, panned = rng.random() < 0.45, rng.random() < 0.3
        size = 0.0 if still else rng.uniform(0.1, 1.0)
        pan = rng.uniform([-0.07, -0.02], [0.07, 0.02]) if panned else np.zeros(2)
        return Handheld(
            pan=(float(pan[0]), float(pan[1])),
            roll=float(rng.normal(0, 0.012)),
            amplitudes=size * rng.uniform(0, 1, (3, 3)) * [0.006, 0.006, 0.004],
            frequencies=rng.uniform([[0.3], [0.8], [2.0]], [[0.8], [2.0], [4.0]], (3, 3)),
            phases=rng.uniform(0, 2 * np.pi, (3, 3)),
        )

    def matrices(self, times_sec: Array, duration_sec: float) -> Array:
        """Return the maps of picture coordinates at some times, ``[T, 2, 3]``."""
        angles = 2 * np.pi * self.frequencies * times_sec[:, None, None] + self.phases
        x, y, roll = (self.amplitudes * np.sin(angles)).sum(1).T
        progress = times_sec / duration_sec - 0.5
        x, y, roll = x + self.pan[0] * progress, y + self.pan[1] * progress, roll + self.roll
        cos, sin = np.cos(roll), np.sin(roll)
        return np.stack([np.stack([cos, -sin, x], -1), np.stack([sin, cos, y], -1)], axis=1)


def moved(points: Array, matrices: Array) -> Array:
    """Apply one ``[2, 3]`` map per time to ``[T, ..., 2]`` points."""
    flat = points.reshape(len(points), -1, 2)
    result = flat @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    return result.reshape(points.shape)
