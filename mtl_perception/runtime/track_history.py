"""The newest poses of each person, ready to be gathered into sequences."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_perception.network.clips import clip_times
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_perception.runtime.clip_buffer import OVERSAMPLING
import numpy as np

# Later than any time; twice this is still an int64.
_NEVER_NS = np.iinfo(np.int64).max // 4


class TrackHistory:
    """
    A ring of frames with the poses of the people in them, gathered by track.

    A column of the ring belongs to a track as long as a frame of the ring shows it, so memory is
    bounded by the people in that many frames. A camera faster than needed is thinned: the newest
    frame is then stored in place of the one before it. For one thread.

    :param num_frames: Poses of a sequence, ``T``.
    :param seconds: Time from a sequence's first pose to its last.
    :raises ValueError: If there is no frame or ``seconds`` is not positive.
    """

    def __init__(self, num_frames: int, seconds: float) -> None:
        times = np.asarray(clip_times(0.0, seconds, num_frames))
        self._offsets_ns = np.rint(times * 1e9).astype(np.int64)
        self._interval_ns = -self._offsets_ns[0] / max(num_frames - 1, 1)
        self._capacity = OVERSAMPLING * num_frames + 4
        # The oldest pose may be half an interval further back. The newest frame is always kept,
        # so only the others need be this far apart.
        reach_ns = -self._offsets_ns[0] + self._interval_ns / 2
        self._min_spacing_ns = reach_ns / (self._capacity - 4)
        self.reset()

    def __len__(self) -> int:
        """Return the number of tracks remembered."""
        return len(self._column_of)

    def reset(self) -> None:
        """Forget all tracks."""
        self._stamps_ns = np.zeros(self._capacity, dtype=np.int64)
        self._poses = np.empty((self._capacity, 0, len(KEYPOINTS), 3), dtype=np.float32)
        self._is_present = np.zeros((self._capacity, 0), dtype=bool)
        self._column_of: dict[str, int] = {}
        self._newest, self._count = -1, 0

    def append(self, ids: Sequence[str], keypoints: np.ndarray, stamp_ns: int) -> None:
        """
        Take in the poses of a frame; frames without people count too.

        A stamp before the newest forgets all tracks; the newest stamp again adds to its frame.

        :param ids: ``N`` tracks, no two the same; what has an empty one is not remembered.
        :param keypoints: ``[N, 17, 3]`` as (x, y, score); x and y are NaN where missing.
        :param stamp_ns: When the frame was acquired.
        :raises ValueError: If shapes do not fit or a track appears twice.
        """
        if keypoints.shape != (len(ids), len(KEYPOINTS), 3):
            raise ValueError(
                f'keypoints must be [{len(ids)}, {len(KEYPOINTS)}, 3], got {keypoints.shape}.'
            )
        named = [row for row, track in enumerate(ids) if track]
        if len({ids[row] for row in named}) < len(named):
            raise ValueError(f'ids must differ from one another, got {list(ids)}.')
        self._open_frame(stamp_ns)
        columns = self._claim([ids[row] for row in named])
        self._poses[self._newest, columns] = keypoints[named]
        self._is_present[self._newest, columns] = True
        is_used = np.any(self._is_present, axis=0)
        self._column_of = {
            track: column for track, column in self._column_of.items() if is_used[column]
        }

    def clips(self, ids: Sequence[str], stamp_ns: int) -> np.ndarray:
        """
        Gather the sequence of each track that ends at a time.

        Each pose is the stored one nearest to its time (of two as near, the earlier). It is
        absent, x and y NaN and score 0, where the nearest is further away than half the interval
        of the sequence plus half the frame period (the median time between stored frames).

        :param ids: ``N`` tracks; unknown ones are absent throughout.
        :param stamp_ns: Of the newest pose.
        :return: float32 ``[N, T, 17, 3]`` as (x, y, score), oldest first.
        """
        clips = np.full(
            (len(ids), len(self._offsets_ns), len(KEYPOINTS), 3), np.nan, dtype=np.float32
        )
        clips[..., 2] = 0
        known = [person for person, track in enumerate(ids) if track in self._column_of]
        if not known:
            return clips
        columns = np.array([self._column_of[ids[person]] for person in known])
        # Axes: F stored frames, N people, T times of the sequence.
        frames = np.arange(self._newest - self._count + 1, self._newest + 1) % self._capacity
        stamps_ns = self._stamps_ns[frames]
        away_FT = np.abs(stamps_ns[:, None] - (stamp_ns + self._offsets_ns))
        is_present_FN = self._is_present[frames[:, None], columns]
        away_FNT = np.where(is_present_FN[..., None], away_FT[:, None], _NEVER_NS)
        nearest_NT = away_FNT.argmin(axis=0)
        period_ns = np.median(np.diff(stamps_ns)) if len(frames) > 1 else 0.0
        is_near_NT = 2 * away_FNT.min(axis=0) <= self._interval_ns + period_ns
        poses = self._poses[frames[nearest_NT], columns[:, None]]
        clips[known] = np.where(is_near_NT[..., None, None], poses, clips[known])
        return clips

    def _open_frame(self, stamp_ns: int) -> None:
        since_newest_ns = stamp_ns - int(self._stamps_ns[self._newest])
        if self._count and since_newest_ns < 0:
            self.reset()
        if self._count and since_newest_ns == 0:
            return
        if not self._is_thinned():
            self._newest = (self._newest + 1) % self._capacity
            self._count = min(self._count + 1, self._capacity)
        self._stamps_ns[self._newest] = stamp_ns
        self._is_present[self._newest] = False

    def _is_thinned(self) -> bool:
        if self._count < 2:
            return False
        spacing_ns = self._stamps_ns[self._newest] - self._stamps_ns[self._newest - 1]
        return bool(spacing_ns < self._min_spacing_ns)

    def _claim(self, tracks: Sequence[str]) -> list[int]:
        """Return the columns of the tracks, giving free ones to those that have none."""
        new = [track for track in tracks if track not in self._column_of]
        free = sorted(set(range(self._is_present.shape[1])) - set(self._column_of.values()))
        if len(new) > len(free):
            width = self._is_present.shape[1]
            more = max(width, len(new) - len(free))
            free += range(width, width + more)
            self._is_present = np.pad(self._is_present, ((0, 0), (0, more)))
            self._poses = np.pad(self._poses, ((0, 0), (0, more), (0, 0), (0, 0)))
        self._column_of.update(zip(new, free))
        return [self._column_of[track] for track in tracks]
