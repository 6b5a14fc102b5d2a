"""How the box of a person moves, seen or not."""

from __future__ import annotations

import math

import numpy as np
from trackers.utils.state_representations import XCYCWHStateEstimator

REFERENCE_RATE = 30.0  # frames/s: what the tracking library counts time in


class PersonBoxFilter(XCYCWHStateEstimator):
    """
    A Kalman filter for the box of a person, in seconds and in sizes of the box.

    The velocity of the centre is disturbed by white acceleration (Bar-Shalom et al., 2001, section
    6.2.2) and, while nobody is seen, decays: whether a hidden person went on or stopped, it comes
    back not far from where it is expected. Width and height drift. All this is in continuous time,
    so any frame rate gives the same motion. The noise that the library would use is a fixed number
    of pixels per frame, far below a detector's: the velocity would follow the noise. The state is
    (x, y, width, height, x velocity, y velocity, unused, unused), in px and px/s.
    """

    # Standard deviations in sizes of the box: the square root of its area.
    MEASUREMENT = 0.05
    ACCELERATION = 2.0  # change of the velocity within a second, in sizes/s
    PERSISTENCE_SEC = 0.6  # a velocity that is not seen again decays with this time constant
    GROWTH = 0.2  # relative change of the size in a second
    FIRST_VELOCITY = 1.0

    def __init__(self, bbox: np.ndarray) -> None:
        super().__init__(bbox)
        deviations = [self.MEASUREMENT] * 4 + [self.FIRST_VELOCITY] * 2 + [0.0] * 2
        self.kf.state_covariance = np.diag(np.square(deviations)) * self._area()

    def predict(self, frame_step: float = 1.0, frame_rate: float | None = None) -> None:
        """Move on by ``frame_step`` frames of ``frame_rate`` frames/s."""
        elapsed_sec = frame_step / (frame_rate or REFERENCE_RATE)
        centre, velocity, size = [0, 1], [4, 5], [2, 3]
        noise, transition = np.zeros((8, 8)), np.eye(8)
        # Displacement at unit velocity, which decays on the way.
        decay = math.exp(-elapsed_sec / self.PERSISTENCE_SEC)
        transition[centre, velocity] = self.PERSISTENCE_SEC * (1 - decay)
        transition[velocity, velocity] = decay
        power = self.ACCELERATION**2 * self._area()
        noise[centre, centre] = power * elapsed_sec**3 / 3
        noise[centre, velocity] = noise[velocity, centre] = power * elapsed_sec**2 / 2
        noise[velocity, velocity] = power * elapsed_sec
        noise[size, size] = self.GROWTH**2 * self._area() * elapsed_sec
        self.kf.transition_mtx, self.kf.process_noise = transition, noise
        self.kf.predict()

    def update(self, bbox: np.ndarray | None) -> None:
        """Take in a detection, ``[4]`` xyxy."""
        self.kf.measurement_noise = np.eye(4) * self.MEASUREMENT**2 * self._area()
        super().update(bbox)

    def _area(self) -> float:
        return float(self.kf.state[2, 0] * self.kf.state[3, 0])
