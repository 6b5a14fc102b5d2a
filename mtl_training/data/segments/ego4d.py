"""Ego4D as a source of windows: its actions, its changes of state, and published features."""

from __future__ import annotations

from collections.abc import Sequence
import logging
from pathlib import Path
from typing import Any, TypeVar

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.annotations.ego4d import (
    Action,
    overlapping,
    read_actions,
    read_state_changes,
    read_taxonomy,
    StateChange,
)
from mtl_training.data.annotations.ego4d_features import find_features, open_features
from mtl_training.data.annotations.ego4d_rows import FEATURE_SETS
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.build import windows_of
from mtl_training.data.segments.open_arrays import OpenArrays
from mtl_training.data.video_sets.lists import names_in
from mtl_training.data.videos.index import check_split, NoSplitError
from mtl_training.data.videos.probing import user_cache
from mtl_training.tables import choose
import numpy as np
from numpy.typing import NDArray

_LOGGER = logging.getLogger(__name__)
T = TypeVar('T', Action, StateChange)


class Ego4dSource:
    """
    A :class:`SegmentSource` of the videos of Ego4D that have features.

    :param kind: Of the task: only what it looks at is read.
    :param root: The folder that holds v1, or v1 itself.
    :param feature_set: One of ``FEATURE_SETS``.
    :param cache_dir: Where features are kept as arrays that are read in parts; ``None``: in the
        user's cache.
    :param drop_overlapping: Leave out intervals that overlap one that says the opposite.
    :raises ValueError: If nothing is there in the layout of the data set.
    """

    def __init__(
        self,
        split: str,
        kind: str,
        *,
        root: str,
        feature_set: str = 'omnivore_video_swinl',
        cache_dir: str | None = None,
        drop_overlapping: bool = False,
    ) -> None:
        check_split(split)
        if split == 'test':
            raise NoSplitError('ego4d: the labels of the split test are not public.')
        self.split, self.feature_set = split, choose(FEATURE_SETS, feature_set, 'feature_set')
        folder = user_cache() / 'ego4d' if cache_dir is None else Path(cache_dir).expanduser()
        self._cache = folder / feature_set
        self._files = self._find(root)
        self._arrays = OpenArrays(self._open)
        self.groups: dict[str, tuple[str, ...]] = {}
        self.actions: Sequence[Action] = ()
        self.changes: Sequence[StateChange] = ()
        if kind in ('recognition', 'anticipation'):
            taxonomy = read_taxonomy(root)
            self.groups = {'verb': taxonomy.verbs, 'noun': taxonomy.nouns}
            self.actions = self._with_features(read_actions(split, root=root, taxonomy=taxonomy))
        else:
            changes: Sequence[StateChange] = read_state_changes(split, root=root)
            if drop_overlapping:
                changes = _without_overlaps(changes, split)
            self.changes = self._with_features(changes)

    def features(self, video_uid: str) -> NDArray[np.floating]:
        """Return the features of a video, ``[N, D]``, float16 or float32."""
        return self._arrays[video_uid]

    def _open(self, video_uid: str) -> NDArray[np.floating]:
        return open_features(self._files[video_uid], self._cache, self.feature_set.dim)

    def _find(self, root: str) -> dict[str, Path]:
        """Return the published files, also of what is left of them: the arrays of the cache."""
        place = Path(root).expanduser() / self.feature_set.name
        names = sorted(names_in(self._cache))
        cached = [name[:-4] for name in names if name.endswith('.npy') and name[0] != '.']
        kept = {uid: place / f'{uid}.pt' for uid in cached}
        try:
            return kept | find_features(root, self.feature_set)
        except ValueError:
            if not kept:
                raise
            return kept

    def _with_features(self, intervals: Sequence[T]) -> list[T]:
        found = [interval for interval in intervals if interval.video_uid in self._files]
        missing = {i.video_uid for i in intervals} - self._files.keys()
        if missing:
            _LOGGER.warning(
                "%d videos of split '%s' of ego4d have no features '%s', such as '%s': %d of "
                '%d annotations are left out.',
                len(missing),
                self.split,
                self.feature_set.name,
                min(missing),
                len(intervals) - len(found),
                len(intervals),
            )
        return found


def _without_overlaps(changes: Sequence[StateChange], split: str) -> list[StateChange]:
    dropped = overlapping(changes)
    _LOGGER.warning(
        "%d of %d intervals of split '%s' of ego4d overlap one that says the opposite and are "
        'left out.',
        int(dropped.sum()),
        len(changes),
        split,
    )
    return [change for change, is_dropped in zip(changes, dropped) if not is_dropped]


def ego4d(
    task: str,
    kind: str,
    split: str,
    *,
    settings: Any,
    graph: GraphConfig,
    root: str,
    feature_set: str = 'omnivore_video_swinl',
    cache_dir: str | None = None,
    drop_overlapping: bool = False,
    convention: str = 'forecasting',
    augment: bool | None = None,
) -> GraphDataset:
    """
    Ego4D v1: actions, anticipation, changes of state, points of no return, by published features.

    :param settings: Of the task.
    :param graph: Of its trunk.
    :param root: The folder that holds v1, or v1 itself.
    :param feature_set: Of the published ones, such as omnivore_video_swinl.
    :param cache_dir: Where features are kept as arrays that are read in parts.
    :param drop_overlapping: Leave out intervals that overlap one that says the opposite.
    :param convention: Of anticipation, forecasting or egopack.
    :param augment: Draw the moments of a window; default: in training.
    :raises ValueError: If nothing is there in the layout of the data set.
    """
    source = Ego4dSource(
        split,
        kind,
        root=root,
        feature_set=feature_set,
        cache_dir=cache_dir,
        drop_overlapping=drop_overlapping,
    )
    return windows_of(
        source, task, kind, settings=settings, graph=graph, augment=augment, convention=convention
    )
