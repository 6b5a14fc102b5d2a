"""Who is who from frame to frame: detected people get ids that last."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import math
import random
import string

import numpy as np
import supervision as sv
from trackers import BIoU, ByteTrackTracker
from trackers.utils.state_representations import XCYCWHStateEstimator

REFERENCE_RATE = 30.0  # frames/s; the library counts time in these, the filter below in seconds
# A hidden person may stop or turn where its last motion does not lead. Boxes enlarged by this
# part of their size on each side still overlap then (Yang et al., WACV 2023, arXiv 2211.14317).
BUFFER_RATIO = 0.3
MINIMUM_OVERLAP = 0.2
LARGEST_PX = 1e6  # no image is larger: beyond it lie mistakes, whose areas overflow


class RandomIds:
    """
    Endless random ids of 5 lower-case letters and digits, as ROS4HRI has them (REP-155).

    The first is a letter, because a part of a topic's name cannot start with a digit
    (``/humans/bodies/<id>``). All 43,670,016 come once, in a random order, before any comes again,
    with nothing to be remembered: the position grows by a random step that has no common divisor
    with their number.

    :param generator: Chooses the order; the default is the operating system's randomness.
    """

    _ALPHABETS = (string.ascii_lowercase, *[string.ascii_lowercase + string.digits] * 4)
    NUM_IDS = math.prod(map(len, _ALPHABETS))

    def __init__(self, generator: random.Random | None = None) -> None:
        draw = generator or random.SystemRandom()
        self._start = draw.randrange(self.NUM_IDS)
        self._step = self.NUM_IDS
        while math.gcd(self._step, self.NUM_IDS) > 1:
            self._step = draw.randrange(1, self.NUM_IDS)
        self._drawn = itertools.count()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        position = (self._start + self._step * next(self._drawn)) % self.NUM_IDS
        letters = []
        for alphabet in self._ALPHABETS:
            position, index = divmod(position, len(alphabet))
            letters.append(alphabet[index])
        return ''.join(letters)


# Shared, so that no two trackers of a process give out the same id.
_PROCESS_IDS = RandomIds()


class PersonBoxFilter(XCYCWHStateEstimator):
    """
    A Kalman filter for the box of a person, in seconds and in sizes of the box.

    The centre has a constant velocity disturbed by white acceleration (Bar-Shalom et al., 2001,
    section 6.2.2), so any frame rate gives the same motion; width and height drift. The noise the
    library would use is a fixed number of pixels per frame, far below a detector's: the velocity
    then follows the noise and a hidden person is sought where nobody went. The state is (x, y,
    width, height, x velocity, y velocity, unused, unused), in px and px/s.
    """

    # Standard deviations in sizes of the box: the square root of its area.
    MEASUREMENT = 0.05
    ACCELERATION = 0.5  # a walking person who stops changes by about one size/s within a second
    PERSISTENCE_SEC = 0.5  # a velocity that is not seen again decays with this time constant
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


class PersonTracker:
    """
    Gives each detected person an id that stays while it is seen (ByteTrack, arXiv 2110.06864).

    Confident detections continue tracks or start new ones at once; the others only continue
    tracks. Time is that of the stamps, so the camera's rate does not matter. For one thread.

    :param max_age_sec: Who returns within this time keeps its id; may be changed at any time.
    :param min_score: Detections below this score are nobody.
    :param activation_score: From this score on a detection that continues no track starts one.
    :param ids: Where new ids come from; by default all trackers of the process draw from one
        :class:`RandomIds`, so that no id is ever given out twice.
    :raises ValueError: If ``max_age_sec`` is not positive or the scores are not in order.
    """

    def __init__(
        self,
        *,
        max_age_sec: float = 1.0,
        min_score: float = 0.1,
        activation_score: float = 0.5,
        ids: Iterator[str] | None = None,
    ) -> None:
        if not 0 <= min_score <= activation_score <= 1:
            raise ValueError(
                'min_score and activation_score must satisfy 0 <= min_score <= activation_score '
                f'<= 1, got {min_score} and {activation_score}.'
            )
        self._min_score, self._activation_score = min_score, activation_score
        self._tracker = ByteTrackTracker(
            frame_rate=REFERENCE_RATE,
            track_activation_threshold=activation_score,
            high_conf_det_threshold=activation_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=MINIMUM_OVERLAP,
            state_estimator_class=PersonBoxFilter,
            iou=BIoU(buffer_ratio=BUFFER_RATIO),
        )
        self.max_age_sec = max_age_sec
        self._ids = _PROCESS_IDS if ids is None else ids
        self._numbers = itertools.count()
        self.reset()

    @property
    def max_age_sec(self) -> float:
        """Return for how long a person who is not seen keeps its id."""
        return self._tracker.maximum_time_without_update

    @max_age_sec.setter
    def max_age_sec(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f'max_age_sec must be positive and finite, got {value}.')
        self._tracker.maximum_time_without_update = value

    def reset(self) -> None:
        """Forget everybody; whoever is seen next gets an id that nobody had."""
        self._tracker.reset()
        self._id_of: dict[int, str] = {}  # by the library's number of the track
        self._first_ns: int | None = None
        self._newest_ns = 0

    def update(self, boxes: np.ndarray, scores: np.ndarray, stamp_ns: int) -> list[str]:
        """
        Take in the people detected in a frame and return their ids.

        A stamp that is not after the last one, or that is more than ``max_age_sec`` after it,
        starts afresh.

        :param boxes: ``[N, 4]`` xyxy, px.
        :param scores: ``[N]``, 0 to 1.
        :param stamp_ns: When the frame was acquired.
        :return: ``N`` ids, in the order of ``boxes``. An empty one means nobody: a score below
            ``min_score``, one below ``activation_score`` that continues no track, or a box
            without area. All others differ from one another.
        :raises ValueError: If shapes do not fit, or a number is not finite or a box absurdly
            large; what was known before is kept.
        """
        boxes, scores = _checked(boxes, scores)
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        rows = np.flatnonzero(has_area & (scores >= self._min_score))
        detections = sv.Detections(xyxy=boxes[rows], confidence=scores[rows], data={'row': rows})
        result = self._tracker.update(detections, timestamp=self._advance(stamp_ns))
        return self._named(result, len(boxes))

    def _advance(self, stamp_ns: int) -> float:
        """Return the seconds since the first frame."""
        since_newest_sec = (stamp_ns - self._newest_ns) * 1e-9
        if self._first_ns is None or not 0 < since_newest_sec <= self.max_age_sec:
            self.reset()
            self._first_ns = stamp_ns
        self._newest_ns = stamp_ns
        return (stamp_ns - self._first_ns) * 1e-9

    def _named(self, result: sv.Detections, num_boxes: int) -> list[str]:
        names = [''] * num_boxes
        starting = []
        for row, number, score in zip(
            result.data.get('row', ()), result.tracker_id, result.confidence
        ):
            if number >= 0:
                names[row] = self._id_of[int(number)]
            elif score >= self._activation_score:
                starting.append(row)
        # The library numbers a track in its second frame; here it has its number in its first.
        # It appends new tracks in the order in which it returns the detections they start from.
        tracks = self._tracker.tracks
        for row, track in zip(starting, [t for t in tracks if t.tracker_id < 0], strict=True):
            track.tracker_id = next(self._numbers)
            self._id_of[track.tracker_id] = names[row] = next(self._ids)
        self._id_of = {track.tracker_id: self._id_of[track.tracker_id] for track in tracks}
        return names


def _checked(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In double, as the library compares scores now in single and now in double precision.
    boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f'boxes must be [N, 4] and scores [N], got {boxes.shape} and {scores.shape}.'
        )
    if not (np.abs(boxes) <= LARGEST_PX).all():
        raise ValueError(f'boxes must be finite and within ±{LARGEST_PX:.0f} px, got {boxes}.')
    if not np.isfinite(scores).all():
        raise ValueError(f'scores must be finite, got {scores}.')
    return boxes, scores
