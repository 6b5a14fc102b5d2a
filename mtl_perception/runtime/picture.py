"""A decoded camera image, as a view of the memory it arrived in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Picture:
    """
    Pixels, and whether blue comes first in them.

    Swapping the channels is left to whoever has shrunk the image: there it is cheap, here it
    would cost a copy of the whole image.
    """

    pixels: np.ndarray  # uint8 [H, W, 3]; rows may be padded
    is_bgr: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]
