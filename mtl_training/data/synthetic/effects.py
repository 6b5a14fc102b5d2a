"""Light, lens and sensor: what happens to an image on its way from the scene to the file."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import Image
import numpy as np

_FIELD_MARGIN = 32  # pixels by which a field of noise exceeds the image it is cut for
_LEVELS = 40  # of noise, per unit of standard deviation / _LOUDEST
_LOUDEST = 14.0


@lru_cache(maxsize=8)
def _field(height: int, width: int) -> Array:
    rng = np.random.default_rng(height * 65536 + width)
    shape = (height + _FIELD_MARGIN, width + _FIELD_MARGIN, 3)
    return rng.standard_normal(shape, dtype=np.float32)  # type: ignore[return-value]


@lru_cache(maxsize=8)
def _noise_field(level: int, height: int, width: int) -> tuple[Image, Image]:
    """Return what noise adds and what it takes away, for saturating sums."""
    field = _field(height, width) * np.float32(level * _LOUDEST / _LEVELS)
    added = np.clip(field, 0, 255).astype(np.uint8)
    return added, np.clip(-field, 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _vignette(level: int, height: int, width: int) -> Image:
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]  # type: ignore[misc]
    falloff = 1.0 - 0.05 * level * (x**2 + y**2) / 2
    return np.repeat((255 * falloff).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True)
class Effects:
    """How one camera shows what is in front of it; lengths in picture units."""

    gain: float
    gamma: float
    balance: tuple[float, float, float]
    vignette: int  # twentieths of the light lost in the corners
    flicker: float
    flicker_hz: float
    defocus: float
    smear: tuple[float, float]
    noise: float  # standard deviation, grey levels
    jpeg_quality: int | None
    shadow: float  # share of the light lost under the feet
    seed: int

    @staticmethod
    def sample(rng: np.random.Generator) -> 'Effects':
        """Draw a camera; most are fair, some are poor."""
        angle, smeared = rng.uniform(0, np.pi), rng.random() < 0.15
        smear = rng.uniform(0.005, 0.02) if smeared else 0.0
        tint = rng.normal(1.0, 0.045, 3)
        return Effects(
            gain=float(np.clip(rng.normal(1.0, 0.16), 0.55, 1.4)),
            gamma=float(np.exp(rng.normal(0, 0.16))),
            balance=(float(tint[0]), float(tint[1]), float(tint[2])),
            vignette=int(rng.integers(1, 10)) if rng.random() < 0.4 else 0,
            flicker=rng.uniform(0.01, 0.06) if rng.random() < 0.25 else 0.0,
            flicker_hz=rng.uniform(0.5, 9.0),
            defocus=rng.uniform(0.002, 0.007) if rng.random() < 0.35 else 0.0,
            smear=(float(smear * np.cos(angle)), float(smear * np.sin(angle))),
            noise=float(min(rng.exponential(3.0), _LOUDEST)),
            jpeg_quality=int(rng.integers(25, 85)) if rng.random() < 0.3 else None,
            shadow=rng.uniform(0.15, 0.55) if rng.random() < 0.8 else 0.0,
            seed=int(rng.integers(2**63)),
        )

    def lens(self, unit: float) -> 'Lens':
        """Return the blur for images of ``unit`` pixels per picture unit."""
        return Lens(self.defocus * unit, (self.smear[0] * unit, self.smear[1] * unit))

    def apply(self, image: Image, time_sec: float, lens: 'Lens') -> Image:
        """Return the image that the camera delivers at one time."""
        height, width = image.shape[:2]
        image = lens.apply(image)
        if self.vignette:
            mask = _vignette(self.vignette, height, width)
            image = cv2.multiply(image, mask, scale=1 / 255)  # type: ignore[assignment]
        image = cv2.LUT(image, self._curve(time_sec))  # type: ignore[assignment]
        # Every time has its own noise, whatever else is rendered with it.
        microseconds = round(time_sec * 1e6) & 0xFFFFFFFF
        mixed = ((self.seed ^ (microseconds * 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) >> 20
        level = round(self.noise / _LOUDEST * _LEVELS)
        if level:
            added, taken = _noise_field(level, height, width)
            x, y = mixed % _FIELD_MARGIN, (mixed >> 8) % _FIELD_MARGIN
            image = cv2.add(image, added[y : y + height, x : x + width])  # type: ignore
            image = cv2.subtract(image, taken[y : y + height, x : x + width])  # type: ignore
        if self.jpeg_quality is not None:
            # The channels are exchanged for OpenCV both ways: JPEG weighs them differently.
            quality = [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
            _, coded = cv2.imencode('.jpg', image[..., ::-1], quality)
            decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
            image = np.ascontiguousarray(decoded[..., ::-1])  # type: ignore[index]
        return image

    def _curve(self, time_sec: float) -> Image:
        gain = self.gain * (1 + self.flicker * np.sin(2 * np.pi * self.flicker_hz * time_sec))
        levels = 255 * (np.arange(256) / 255)[:, None] ** self.gamma * gain
        curve = np.clip(levels * np.array(self.balance), 0, 255)
        return curve.astype(np.uint8)[None]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Lens:
    """Blur of the lens (standard deviation) and of the camera's motion (a line), pixels."""

    defocus: float
    smear: tuple[float, float]

    def apply(self, image: Image) -> Image:
        """Return the blurred image."""
        length = float(np.hypot(*self.smear))
        if length > 1.2:
            half = int(np.ceil(length / 2))
            kernel = np.zeros((2 * half + 1,) * 2, np.float32)
            dx, dy = round(self.smear[0] / 2), round(self.smear[1] / 2)
            cv2.line(kernel, (half - dx, half - dy), (half + dx, half + dy), 1.0)
            image = cv2.filter2D(image, -1, kernel / kernel.sum())  # type: ignore[assignment]
        if self.defocus > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.defocus)  # type: ignore[assignment]
        return image


def darken(image: Image, middle: Array, half_axes: Array, share: float) -> None:
    """Take a share of the light within an ellipse, in place."""
    height, width = image.shape[:2]
    low = np.maximum(np.floor(middle - half_axes - 1), 0).astype(int)
    high = np.minimum(np.ceil(middle + half_axes + 2), [width, height]).astype(int)
    if (high <= low).any():
        return
    region = image[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(region.shape[:2], np.uint8)
    centre = tuple(np.rint((middle - low) * 16).astype(int).tolist())
    axes = tuple(np.maximum(np.rint(half_axes * 16), 8).astype(int).tolist())
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255 * share, -1, cv2.LINE_AA, 4)
    keep = cv2.cvtColor(255 - mask, cv2.COLOR_GRAY2BGR)
    cv2.multiply(region, keep, region, scale=1 / 255)
