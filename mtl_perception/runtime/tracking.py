"""Who is who from frame to frame: detected people get ids that last."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import math
import random
import string

from mtl_perception.runtime.person_filter import PersonBoxFilter, REFERENCE_RATE
import numpy as np
import supervision as sv
from trackers import BIoU, ByteTrackTracker

# A hidden person may stop or turn where its last motion does not lead. Boxes enlarged by this
# part of their size on each side still overlap then (Yang et al., WACV 2023, arXiv 2211.14317).
BUFFER_RATIO = 0.3
MINIMUM_OVERLAP = 0.1
SMALLEST_PX = 1.0  # what is narrower or lower is not the box of a person
LARGEST_PX = 1e6  # no image is larger: beyond it lie mistakes, whose areas overflow
# Whoever is in one frame can be recognised in the next, however seldom frames come. Where one is
# looked at every 1.25 s, say, and the camera gives one a second, periods are of 1 s and of 2 s.
BRIDGED_PERIODS = 2.5


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


class PersonTracker:
    """
    Gives each detected person an id that stays while it is seen (ByteTrack, arXiv 2110.06864).

    Confident detections continue tracks or start new ones at once; the others only continue
    tracks. Time is that of the stamps, so the camera's rate does not matter. For one thread.

    :param max_age_sec: Who returns within this time keeps its id; may be changed at any time.
        Where frames come so seldom that :data:`BRIDGED_PERIODS` times the time between the last
        two is longer, that counts instead.
    :param min_score: Detections below this score are nobody.
    :param activation_score: From this score on a detection that continues no track starts one;
        may be changed at any time.
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
        self._min_score = min_score
        self._tracker = ByteTrackTracker(
            frame_rate=REFERENCE_RATE,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=MINIMUM_OVERLAP,
            state_estimator_class=PersonBoxFilter,
            iou=BIoU(buffer_ratio=BUFFER_RATIO),
        )
        self.max_age_sec, self.activation_score = max_age_sec, activation_score
        self._ids = _PROCESS_IDS if ids is None else ids
        self._numbers = itertools.count()
        self.reset()

    @property
    def max_age_sec(self) -> float:
        """Return for how long a person who is not seen keeps its id."""
        return self._max_age_sec

    @max_age_sec.setter
    def max_age_sec(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f'max_age_sec must be positive and finite, got {value}.')
        self._max_age_sec = value

    @property
    def activation_score(self) -> float:
        """Return the score from which on somebody new gets an id."""
        return self._activation_score

    @activation_score.setter
    def activation_score(self, value: float) -> None:
        if not 0 <= self._min_score <= value <= 1:
            raise ValueError(
                'min_score and activation_score must satisfy 0 <= min_score <= activation_score '
                f'<= 1, got {self._min_score} and {value}.'
            )
        self._activation_score = value
        self._tracker.track_activation_threshold = value
        self._tracker.high_conf_det_threshold = value

    @property
    def num_tracks(self) -> int:
        """Return how many people are remembered."""
        return len(self._id_of)

    def reset(self) -> None:
        """Forget everybody; whoever is seen next gets an id that nobody had."""
        self._tracker.reset()
        self._id_of: dict[int, str] = {}  # by the library's number of the track
        self._first_ns: int | None = None
        self._newest_ns = 0
        self._period_sec = 0.0  # between the last two frames; 0 where there are none

    def update(self, boxes: np.ndarray, scores: np.ndarray, stamp_ns: int) -> list[str]:
        """
        Take in the people detected in a frame and return their ids.

        A stamp that is not after the last one, or that is further after it than anybody is
        remembered, starts afresh.

        :param boxes: ``[N, 4]`` xyxy, px.
        :param scores: ``[N]``, 0 to 1.
        :param stamp_ns: When the frame was acquired.
        :return: ``N`` ids, in the order of ``boxes``. An empty one means nobody: a score below
            ``min_score``, one below ``activation_score`` that continues no track, or a box
            that is turned over or not a pixel wide and high. All others differ from one another.
        :raises ValueError: If shapes do not fit, or a number is not finite or a box absurdly
            large; what was known before is kept.
        """
        boxes, scores = _checked(boxes, scores)
        is_box = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_PX).all(axis=1)
        rows = np.flatnonzero(is_box & (scores >= self._min_score))
        detections = sv.Detections(xyxy=boxes[rows], confidence=scores[rows], data={'row': rows})
        result = self._tracker.update(detections, timestamp=self._advance(stamp_ns))
        return self._named(result, scores)

    def _advance(self, stamp_ns: int) -> float:
        """Return the seconds since the first frame."""
        newest_ns = stamp_ns if self._first_ns is None else self._newest_ns
        since_newest_sec = (stamp_ns - newest_ns) * 1e-9
        limit_sec = max(self._max_age_sec, BRIDGED_PERIODS * self._period_sec)
        if self._first_ns is None or not 0 < since_newest_sec <= limit_sec:
            self.reset()
            self._first_ns = stamp_ns
        self._tracker.maximum_time_without_update = limit_sec
        self._newest_ns, self._period_sec = stamp_ns, max(0.0, since_newest_sec)
        return (stamp_ns - self._first_ns) * 1e-9

    def _named(self, result: sv.Detections, scores: np.ndarray) -> list[str]:
        names = [''] * len(scores)
        starting = []
        numbers = np.asarray(result.tracker_id).tolist()
        for row, number in zip(result.data.get('row', ()), numbers):
            if number >= 0:
                names[row] = self._id_of[number]
            elif scores[row] >= self._activation_score:
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
