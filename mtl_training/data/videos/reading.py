"""From an entry and the times of a clip to its frames, whatever the entry is stored as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtl_training.data.decoding import decode_range, Frame, read_frames, VideoFacts
from mtl_training.data.videos.clip_cache import cache_key, CachedClip, CacheFullError, ClipCache
from mtl_training.data.videos.index import ClipEntry
from mtl_training.data.videos.pictures import read_pictures, shows_pictures
from mtl_training.data.videos.probing import Prober
from mtl_training.data.videos.problems import problem_log
from mtl_training.data.videos.scaling import FrameScaler, VERSION
import numpy as np
from numpy.typing import NDArray

_PICTURES_AT_ONCE = 64


class ClipReader:
    """
    Read clips at the training size, from the cache if there is one.

    :param size: (height, width) of the frames.
    :param fit: How a video of another aspect ratio meets ``size``: crop, pad or stretch.
    :param rate_hz: Frames a second of folders of pictures.
    :param prober: Knows the contents of files.
    :param cache: Where decoded clips are kept; ``None``: nowhere.
    """

    def __init__(
        self,
        size: tuple[int, int],
        fit: str,
        rate_hz: float,
        prober: Prober,
        cache: ClipCache | None,
    ) -> None:
        self._size, self._fit, self._rate_hz = size, fit, rate_hz
        self._prober, self._cache = prober, cache
        self._scaler, self._problems = FrameScaler(size, fit), problem_log()

    def __call__(self, entry: ClipEntry, facts: VideoFacts, times_sec: Sequence[float]) -> Frame:
        """
        Return the frames nearest to given times, uint8 ``[T, h, w, 3]``; damage is told of.

        :raises VideoError: If nothing of the entry decodes.
        :raises OSError: If it is gone.
        """
        if self._cache is not None and (cached := self._cached(self._cache, entry, facts)):
            return cached.frames[nearest_frames(cached.times_sec, times_sec)]
        damage: list[str] = []
        if shows_pictures(entry.path):
            places = nearest_frames(self._picture_times(facts), times_sec)
            frames = self._pictures(entry, facts, places, damage)
        else:
            within = (facts.first_sec, facts.last_sec)
            frames = read_frames(
                entry.path, times_sec, self._scaler, damage.append, within_sec=within
            )
        self._tell(entry, '; '.join(damage))
        return np.stack(frames)

    def _cached(self, cache: ClipCache, entry: ClipEntry, facts: VideoFacts) -> CachedClip | None:
        """Return an entry from the cache, decoded first where it is not there yet."""
        key = self._key(entry, facts)
        clip = cache.load(key)
        if clip is None:
            damage: list[str] = []
            try:
                cache.store(
                    key,
                    self.decoded(entry, facts, damage),
                    size_hint=facts.num_frames * self._size[0] * self._size[1] * 3,
                    damage=lambda: '; '.join(dict.fromkeys(damage)),
                )
            except (CacheFullError, OSError) as error:
                self._problems.tell(cache.folder, 'not cached', f'clips are decoded anew: {error}')
                return None
            clip = cache.load(key)
        if clip is not None:
            self._tell(entry, clip.damage)
        return clip

    def _key(self, entry: ClipEntry, facts: VideoFacts) -> str:
        return cache_key(
            content=self._prober.content_hash(entry.path),
            range=facts[:3],
            rate_hz=self._rate_hz if shows_pictures(entry.path) else None,
            size=self._size,
            fit=self._fit,
            version=VERSION,
        )

    def decoded(
        self, entry: ClipEntry, facts: VideoFacts, damage: list[str]
    ) -> Iterator[tuple[float, Frame]]:
        """
        Yield all frames of an entry with their times, one after the other.

        :param damage: Gets what did not decode.
        :raises VideoError: If nothing of the entry decodes.
        """
        if not shows_pictures(entry.path):
            within = (facts.first_sec, facts.last_sec)
            for time_sec, frame in decode_range(entry.path, within, damage.append):
                yield time_sec, self._scaler(frame)
            return
        times_sec = self._picture_times(facts).tolist()
        for first in range(0, facts.num_frames, _PICTURES_AT_ONCE):
            some = times_sec[first : first + _PICTURES_AT_ONCE]
            places = range(first, first + len(some))
            yield from zip(some, self._pictures(entry, facts, places, damage))

    def _pictures(
        self, entry: ClipEntry, facts: VideoFacts, places: Sequence[int], damage: list[str]
    ) -> list[Frame]:
        first = round(facts.first_sec * self._rate_hz)
        return read_pictures(
            entry.path,
            [first + place for place in places],
            self._scaler.of_rgb,
            damage.append,
            within=range(first, first + facts.num_frames),
        )

    def _picture_times(self, facts: VideoFacts) -> NDArray[np.float64]:
        first = round(facts.first_sec * self._rate_hz)
        return np.arange(first, first + facts.num_frames) / self._rate_hz

    def _tell(self, entry: ClipEntry, damage: str) -> None:
        if damage:
            self._problems.tell(entry.path, 'repaired', damage)


def nearest_frames(frame_times_sec: NDArray[np.float64], times_sec: Sequence[float]) -> list[int]:
    """
    Return which frames lie nearest to given times, of two at the same distance the later one.

    :param frame_times_sec: Ascending, ``[N]``; not empty.
    """
    last = len(frame_times_sec) - 1
    later = np.searchsorted(frame_times_sec, times_sec, side='left')
    before, after = np.maximum(later - 1, 0), np.minimum(later, last)
    times = np.asarray(times_sec)
    is_before = times - frame_times_sec[before] < frame_times_sec[after] - times
    return np.where((later > last) | ((later > 0) & is_before), before, after).tolist()
