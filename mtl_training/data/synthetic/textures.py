"""Grey textures from a generator: noise of several scales, bricks, planks, checks."""

from collections.abc import Callable

import cv2
from mtl_training.data.synthetic.shapes import Image
import numpy as np

TEXTURE_PX = 192


def noise(rng: np.random.Generator) -> Image:
    """Return smooth noise of several scales."""
    total = np.zeros((TEXTURE_PX, TEXTURE_PX), np.float32)
    roughness = rng.uniform(0.4, 0.8)
    stretch = int(rng.integers(1, 4))
    for octave, cells in enumerate((4, 9, 20, 48, 96)):
        field = rng.standard_normal((cells, max(cells // stretch, 2)), dtype=np.float32)
        size = (TEXTURE_PX, TEXTURE_PX)
        total += roughness**octave * cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
    return cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore


def bricks(rng: np.random.Generator) -> Image:
    """Return rows of bricks of varied shades."""
    height, width = int(rng.integers(9, 24)), int(rng.integers(18, 48))
    image = np.full((TEXTURE_PX, TEXTURE_PX), int(rng.integers(0, 90)), np.uint8)
    for row, y in enumerate(range(0, TEXTURE_PX, height)):
        for x in range(-(row % 2) * width // 2, TEXTURE_PX, width):
            grey = int(rng.integers(120, 220))
            cv2.rectangle(image, (x + 1, y + 1), (x + width - 2, y + height - 2), grey, -1)
    return image


def planks(rng: np.random.Generator) -> Image:
    """Return upright boards."""
    image = np.zeros((TEXTURE_PX, TEXTURE_PX), np.uint8)
    x, width = 0, int(rng.integers(10, 36))
    while x < TEXTURE_PX:
        cv2.rectangle(image, (x, 0), (x + width - 2, TEXTURE_PX), int(rng.integers(110, 230)), -1)
        x += width
    return image


def checks(rng: np.random.Generator) -> Image:
    """Return a checkerboard or tiles with joints."""
    size = int(rng.choice([12, 16, 24, 32, 48]))
    rows, columns = np.mgrid[:TEXTURE_PX, :TEXTURE_PX] // size
    if rng.random() < 0.5:
        return np.where((rows + columns) % 2 == 0, 70, 200).astype(np.uint8)
    tiles = rng.integers(150, 210, (TEXTURE_PX // size + 1,) * 2)
    image = tiles[rows, columns].astype(np.uint8)
    image[:, ::size] = 60
    image[::size] = 60
    return image


def gradient(rng: np.random.Generator) -> Image:
    """Return a plain surface, a little lighter to one side."""
    ramp = np.linspace(rng.uniform(60, 140), rng.uniform(140, 220), TEXTURE_PX)
    image = np.tile(ramp.astype(np.uint8), (TEXTURE_PX, 1))
    return image if rng.random() < 0.5 else np.ascontiguousarray(image.T)


def stripes(rng: np.random.Generator) -> Image:
    """Return soft, straight stripes."""
    waves = rng.uniform(3, 16) * np.linspace(0, 2 * np.pi, TEXTURE_PX)
    image = np.tile((128 + 90 * np.sin(waves)).astype(np.uint8), (TEXTURE_PX, 1))
    return image if rng.random() < 0.6 else np.ascontiguousarray(image.T)


TEXTURES: dict[str, Callable[[np.random.Generator], Image]] = {
    'noise': noise,
    'bricks': bricks,
    'planks': planks,
    'checks': checks,
    'gradient': gradient,
    'stripes': stripes,
}


def tinted(grey: Image, rng: np.random.Generator) -> Image:
    """Return a grey texture between two related colours, RGB."""
    middle = rng.uniform(50, 205, 3) * 0.5 + rng.uniform(50, 205) * 0.5
    contrast = rng.uniform(15, 95) * rng.uniform(0.6, 1.0, 3)
    ramp = np.linspace(-0.5, 0.5, 256)[:, None]
    colours = np.clip(middle + ramp * contrast, 0, 255).astype(np.uint8)
    return cv2.applyColorMap(grey, colours[:, None])  # type: ignore
