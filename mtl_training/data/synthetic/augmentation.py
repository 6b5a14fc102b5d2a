"""Random changes to a whole clip that keep what it shows, but for the mirror."""

import cv2
from mtl_training.data.synthetic.shapes import Image
import numpy as np


def augmented(
    frames: Image, rng: np.random.Generator, *, may_mirror: bool = True
) -> tuple[Image, bool]:
    """
    Vary mirror, crop, light and colour, all frames alike.

    :param frames: uint8 ``[T, H, W, 3]``.
    :return: The new frames, and whether they are mirrored: their label may have to change.
    """
    flipped = bool(rng.random() < 0.5) and may_mirror
    return recoloured(_cropped(frames, rng, flipped), rng), flipped


def recoloured(frames: Image, rng: np.random.Generator) -> Image:
    """Vary light and colour, all frames ``[T, H, W, 3]`` alike; T may not be 0."""
    frames = cv2.LUT(  # type: ignore[assignment]
        frames.reshape(len(frames), -1, 3), _colour_curve(rng)
    ).reshape(frames.shape)
    if rng.random() < 0.08:  # some robots see in grey
        grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
        frames = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    return frames


def _cropped(frames: Image, rng: np.random.Generator, flipped: bool) -> Image:
    """Zoom by up to a fifth around a random point, and shift by up to a twentieth."""
    height, width = frames.shape[1:3]
    scale = rng.uniform(0.9, 1.18)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    aim = middle + rng.uniform(-0.05, 0.05, 2) * [width, height]
    across = -scale if flipped else scale
    warp = np.array(
        [[across, 0, aim[0] - across * middle[0]], [0, scale, aim[1] - scale * middle[1]]]
    )
    return np.stack(
        [
            cv2.warpAffine(
                frame, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            for frame in frames
        ]
    )  # type: ignore[return-value]


def _colour_curve(rng: np.random.Generator) -> Image:
    """Return one curve per channel: brightness, contrast, gamma, white balance."""
    levels = (np.arange(256) / 255)[:, None] ** np.exp(rng.normal(0, 0.12))
    contrast, brightness = rng.uniform(0.75, 1.25), rng.uniform(-0.12, 0.12)
    balance = rng.normal(1.0, 0.06, 3)
    curve = ((levels - 0.5) * contrast + 0.5 + brightness) * balance
    return np.clip(255 * curve, 0, 255).astype(np.uint8)[None]  # type: ignore[no-any-return]
