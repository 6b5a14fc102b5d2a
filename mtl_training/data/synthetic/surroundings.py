"""Walls, floors, furniture and what moves in the background."""

from dataclasses import dataclass

import cv2
from mtl_training.data.synthetic.camera import Camera, HALF_HEIGHT, HALF_WIDTH
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import Image
from mtl_training.data.synthetic.textures import TEXTURE_PX, TEXTURES, tinted
import numpy as np

PLACES = {
    'noise': 'in front of a mottled wall',
    'bricks': 'in front of a brick wall',
    'planks': 'in front of a wooden wall',
    'checks': 'in a tiled room',
    'gradient': 'in a plain room',
    'stripes': 'in front of a striped wall',
}
# The painted background reaches this far beyond the image, so that the camera may move.
_MARGIN = 1.25


@dataclass(frozen=True)
class Mover:
    """Something that crosses the background at a steady pace; picture coordinates."""

    start: tuple[float, float]
    velocity: tuple[float, float]
    size: float
    is_round: bool
    colour: tuple[float, float, float]

    def draw(self, image: Image, unit: float, time_sec: float, matrix: Array) -> None:
        """Draw it at one time; ``matrix`` maps picture coordinates to pixels."""
        span = 2.4  # it comes back on the other side
        x = (self.start[0] + self.velocity[0] * time_sec + span / 2) % span - span / 2
        y = self.start[1] + self.velocity[1] * np.sin(3.0 * time_sec)
        centre = matrix[:, :2] @ [x, y] + matrix[:, 2]
        half = self.size * unit / 2
        at = (round(float(centre[0])), round(float(centre[1])))
        if self.is_round:
            cv2.circle(image, at, max(round(half), 1), self.colour, -1, cv2.LINE_AA)
        else:
            low = (round(at[0] - half), round(at[1] - half * 0.7))
            high = (round(at[0] + half), round(at[1] + half * 0.7))
            cv2.rectangle(image, low, high, self.colour, -1)


@dataclass(frozen=True)
class Surroundings:
    """
    The place of a scene; textures are painted from ``seed`` when it is rendered.

    ``wall_y`` is the distance of the wall behind the origin, metres.
    """

    seed: int
    wall: str
    floor: str
    wall_y: float
    num_items: int
    screen_velocity: tuple[float, float] | None  # of a drifting picture, textures per second
    movers: tuple[Mover, ...]

    @staticmethod
    def sample(rng: np.random.Generator, wall_y: float) -> 'Surroundings':
        """Draw one, with a wall at least as far as ``wall_y``."""
        names = list(TEXTURES)
        moving = rng.random() < 0.3
        drift = rng.uniform(-0.6, 0.6, 2)
        movers = [
            Mover(
                start=(rng.uniform(-1.2, 1.2), rng.uniform(-0.4, 0.15)),
                velocity=(rng.uniform(0.1, 0.6) * rng.choice([-1, 1]), rng.uniform(0, 0.05)),
                size=rng.uniform(0.05, 0.2),
                is_round=bool(rng.random() < 0.4),
                colour=tuple(rng.uniform(20, 235, 3)),  # type: ignore[arg-type]
            )
            for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.25 else 0)
        ]
        return Surroundings(
            seed=int(rng.integers(2**63)),
            wall=str(rng.choice(names, p=[0.3, 0.16, 0.14, 0.1, 0.2, 0.1])),
            floor=str(rng.choice(names, p=[0.3, 0.08, 0.22, 0.15, 0.15, 0.1])),
            wall_y=wall_y + rng.uniform(0.3, 2.5),
            num_items=int(rng.integers(0, 6)),
            screen_velocity=(float(drift[0]), float(drift[1])) if moving else None,
            movers=tuple(movers),
        )

    def paint(self, camera: Camera, unit: float, size: tuple[int, int]) -> 'Backdrop':
        """
        Paint the background as the unmoved camera sees it.

        :param unit: Pixels per picture unit.
        :param size: Height and width of the image, pixels.
        """
        rng = np.random.default_rng(self.seed)
        height, width = (int(np.ceil(side * _MARGIN)) for side in size)
        to_canvas = np.array([[unit, 0, (width - 1) / 2], [0, unit, (height - 1) / 2]])
        wall = tinted(TEXTURES[self.wall](rng), rng)
        canvas: Image = cv2.resize(wall, (width, height))  # type: ignore[assignment]
        at, _ = camera.project(np.array([0.0, self.wall_y, 0.0]))
        floor_row = int(np.clip(to_canvas[1, 1] * at[1] + to_canvas[1, 2], 0, height))
        self._paint_items(canvas, rng, unit, floor_row)
        if floor_row < height:
            self._paint_floor(canvas, rng, camera, to_canvas, floor_row)
        screen = None
        if self.screen_velocity is not None:
            screen = _Screen.sample(rng, canvas.shape[:2], floor_row)
        return Backdrop(self, canvas, to_canvas, unit, screen)

    def _paint_items(
        self, canvas: Image, rng: np.random.Generator, unit: float, floor_row: int
    ) -> None:
        """Add doors, posters and furniture as boxes."""
        width = canvas.shape[1]
        for _ in range(self.num_items):
            w, h = (rng.uniform([0.1, 0.1], [0.5, 0.6]) * unit).astype(int)
            x = int(rng.uniform(-0.1, 1) * width)
            stands = rng.random() < 0.6
            bottom = floor_row if stands else int(rng.uniform(0.15, 0.8) * max(floor_row, 1))
            colour = 0.5 * rng.uniform(25, 230, 3) + 0.5 * rng.uniform(25, 230)
            cv2.rectangle(canvas, (x, bottom - h), (x + w, bottom), colour.tolist(), -1)
            edge = (colour * 0.6).tolist()
            cv2.rectangle(canvas, (x, bottom - h), (x + w, bottom), edge, max(1, int(unit / 90)))
            for shelf in range(int(rng.integers(0, 4))):
                y = bottom - h + (shelf + 1) * h // 4
                cv2.line(canvas, (x, y), (x + w, y), edge, max(1, int(unit / 110)))

    def _paint_floor(
        self,
        canvas: Image,
        rng: np.random.Generator,
        camera: Camera,
        to_canvas: Array,
        floor_row: int,
    ) -> None:
        texture = tinted(TEXTURES[self.floor](rng), rng)
        texels_per_metre = rng.uniform(0.25, 0.6) * TEXTURE_PX
        to_pixels = np.vstack([to_canvas, [0, 0, 1]]) @ camera.ground_homography()
        below = np.array([[1, 0, 0], [0, 1, -floor_row], [0, 0, 1]]) @ to_pixels
        to_texels = np.diag([texels_per_metre, texels_per_metre, 1.0]) @ np.linalg.inv(below)
        height, width = canvas.shape[:2]
        floor = cv2.warpPerspective(
            texture,
            to_texels,
            (width, height - floor_row),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        canvas[floor_row:] = floor


@dataclass(frozen=True)
class _Screen:
    """A picture on the wall whose content drifts."""

    texture: Image
    x: int
    y: int
    width: int
    height: int

    @staticmethod
    def sample(rng: np.random.Generator, canvas: tuple[int, ...], floor_row: int) -> '_Screen':
        width = int(rng.uniform(0.15, 0.5) * canvas[1])
        height = max(int(rng.uniform(0.3, 0.9) * max(floor_row, canvas[0] // 4)), 2)
        name = str(rng.choice(list(TEXTURES)))
        return _Screen(
            tinted(TEXTURES[name](rng), rng),
            int(rng.uniform(0, 1) * (canvas[1] - width)),
            int(rng.uniform(0, 1) * max(floor_row - height, 1)),
            width,
            height,
        )

    def paint(self, canvas: Image, offset: Array) -> None:
        shift = np.array([[1.0, 0, offset[0] * TEXTURE_PX], [0, 1.0, offset[1] * TEXTURE_PX]])
        content = cv2.warpAffine(
            self.texture,
            shift,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        rows = canvas[self.y : self.y + self.height, self.x : self.x + self.width]
        rows[...] = content[: rows.shape[0], : rows.shape[1]]


@dataclass(frozen=True)
class Backdrop:
    """A painted background."""

    place: Surroundings
    canvas: Image
    to_canvas: Array  # picture coordinates -> canvas pixels, [2, 3]
    unit: float
    screen: _Screen | None

    def frame(self, time_sec: float, matrix: Array, size: tuple[int, int], pan: float) -> Image:
        """
        Return a fresh image of the background.

        :param matrix: Picture coordinates to pixels of the image, ``[2, 3]``.
        :param pan: How far a camera that follows somebody has moved, picture units.
        """
        if self.screen is not None and self.place.screen_velocity is not None:
            self.screen.paint(self.canvas, time_sec * np.array(self.place.screen_velocity))
        shifted = self.to_canvas + np.array([[0, 0, self.unit * pan], [0, 0, 0]])
        whole = np.vstack([matrix, [0, 0, 1]])
        warp = np.vstack([shifted, [0, 0, 1]]) @ np.linalg.inv(whole)
        image: Image = cv2.warpAffine(  # type: ignore[assignment]
            self.canvas,
            warp[:2],
            (size[1], size[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        for mover in self.place.movers:
            mover.draw(image, self.unit, time_sec, matrix)
        return image


def picture_unit(size: tuple[int, int]) -> float:
    """Return the pixels per picture unit of an image (height, width)."""
    return min(size[0] / (2 * HALF_HEIGHT), size[1] / (2 * HALF_WIDTH))
