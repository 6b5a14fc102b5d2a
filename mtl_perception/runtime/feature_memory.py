"""The newest features of clips, kept on the device."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import torch
from torch import Tensor

# However long the windows and however near the features: more are never kept.
MAX_FEATURES = 4096


@dataclass(frozen=True)
class _Entries:
    """What is remembered, oldest first; never changed in place, so that any thread may read."""

    rows: np.ndarray  # int64 [K], where the features lie
    stamps_ns: np.ndarray  # int64 [K], of the newest frame of each clip, ascending
    starts_ns: np.ndarray  # int64 [K], of the oldest


_NOTHING = _Entries(*(np.empty(0, np.int64) for _ in range(3)))


class FeatureMemory:
    """
    A rolling memory of feature vectors with the stamps of their clips, of a fixed size.

    Features that come faster than they are needed take each other's place, so that the memory does
    not depend on how fast the network is; the newest is always there. One thread appends and
    takes; others may read figures.

    :param feature_dim: D.
    :param span_ns: How far back the moments to be asked for reach.
    :param spacing_ns: Only the newest feature is nearer than this to the one before it.
    """

    def __init__(
        self,
        feature_dim: int,
        span_ns: int,
        spacing_ns: int,
        *,
        device: torch.device | str = 'cpu',
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._span_ns = span_ns
        self._spacing_ns = max(spacing_ns, math.ceil(span_ns / MAX_FEATURES), 1)
        self.capacity = math.ceil(span_ns / self._spacing_ns) + 2
        # One more: a new feature overwrites none of those that undo() brings back.
        self._features = torch.zeros((self.capacity + 1, feature_dim), device=device, dtype=dtype)
        self._entries = self._before = _NOTHING
        self._generation = -1

    def __len__(self) -> int:
        """Return how many features are remembered."""
        return len(self._entries.rows)

    @property
    def span_ns(self) -> int:
        """Return the time from the oldest feature to the newest, nanoseconds."""
        stamps_ns = self._entries.stamps_ns
        return int(stamps_ns[-1] - stamps_ns[0]) if len(stamps_ns) else 0

    @property
    def hole_ns(self) -> int:
        """Return the longest time between two features that follow each other, nanoseconds."""
        return int(np.diff(self._entries.stamps_ns).max(initial=0))

    def append(
        self, feature: Tensor, *, stamp_ns: int, start_ns: int, generation: int = 0
    ) -> None:
        """
        Take in the feature of a clip.

        :param feature: ``[D]``, on the device.
        :param stamp_ns: Of the clip's newest frame, later than that of the feature before.
        :param start_ns: Of its oldest frame.
        :param generation: A change means that the stream has been interrupted: start afresh.
        """
        if generation != self._generation:
            self._entries, self._generation = _NOTHING, generation
        before = self._entries
        row = int(np.setdiff1d(np.arange(self.capacity + 1), before.rows)[0])
        self._features[row].copy_(feature)
        # The oldest that is needed is the last one at or before the earliest moment.
        oldest = int(np.searchsorted(before.stamps_ns, stamp_ns - self._span_ns, 'right')) - 1
        kept = np.arange(max(oldest, 0), len(before.rows))
        if len(kept) > 1 and before.stamps_ns[-1] - before.stamps_ns[-2] < self._spacing_ns:
            kept = kept[:-1]
        self._before = before
        self._entries = _Entries(
            np.append(before.rows[kept], row),
            np.append(before.stamps_ns[kept], stamp_ns),
            np.append(before.starts_ns[kept], start_ns),
        )

    def undo(self) -> None:
        """Forget what was appended last; what it took the place of is back."""
        self._entries = self._before

    def covers(self, span_ns: int) -> bool:
        """Return whether features reach so far back from the newest."""
        return len(self) > 0 and self.span_ns >= span_ns

    def start_ns(self, place: int) -> int:
        """Return the stamp of the oldest frame of a clip, by the place of its feature."""
        return int(self._entries.starts_ns[place])

    def nearest(self, offsets_ns: np.ndarray) -> np.ndarray:
        """
        Return the places of the features nearest to moments; of two equally near, the later.

        :param offsets_ns: Relative to the newest feature, ``[K]``.
        :return: int64 ``[K]``; 0 is the oldest feature.
        """
        times_ns = self._entries.stamps_ns - self._entries.stamps_ns[-1]
        right = np.searchsorted(times_ns, offsets_ns).clip(max=len(times_ns) - 1)
        left = (right - 1).clip(min=0)
        is_left = np.abs(offsets_ns - times_ns[left]) < np.abs(times_ns[right] - offsets_ns)
        return np.where(is_left, left, right)

    def between(self, offsets_ns: np.ndarray) -> np.ndarray:
        """Return the places of moments between features, float64 ``[K]``: 0.5 is midway."""
        times_ns = self._entries.stamps_ns - self._entries.stamps_ns[-1]
        return np.interp(offsets_ns, times_ns, np.arange(len(times_ns)))

    def take(self, places: np.ndarray) -> Tensor:
        """Return the features at places, ``[K, D]``."""
        rows = torch.from_numpy(self._entries.rows[places]).to(self._features.device)
        return self._features.index_select(0, rows)
