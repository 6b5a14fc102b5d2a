"""One's own videos as a source of windows: a folder of features, and who does what when."""

from __future__ import annotations

from collections.abc import Sequence
import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_training.data.annotations.arrays import load_array
from mtl_training.data.annotations.ego4d import Action, RATE_HZ, StateChange
from mtl_training.data.annotations.ego4d_rows import FeatureSet
from mtl_training.data.annotations.tables import count_of, number_of
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.annotation_tables import (
    ActionRow,
    ChangeRow,
    read_action_rows,
    read_change_rows,
)
from mtl_training.data.segments.build import windows_of
from mtl_training.data.segments.open_arrays import OpenArrays
from mtl_training.data.videos.index import check_split, is_held_out, NoSplitError, SPLITS
import numpy as np
from numpy.typing import NDArray

FACTS = 'features.json'
LAYOUT = (
    f'<root>/{FACTS} and <root>/<video>.npy, as extract-features writes them; without a table of '
    'annotations <root>/<train|val|test>/<class>/<video>.npy'
)
CLASS_GROUP = 'action'  # what the classes of folders are called
_LOGGER = logging.getLogger(__name__)
T = TypeVar('T', ActionRow, ChangeRow)


class FeatureFolder:
    """
    A :class:`SegmentSource` of a folder of features that ``extract-features`` wrote.

    :param kind: Of the task: which table the annotations are.
    :param root: The folder.
    :param annotations: A table of :mod:`annotation_tables`; ``None``: the classes are folders, and
        each video shows one action from its start to its end.
    :param val_share: Of the videos of a table without a column split that are held out for val.
    :raises NoSplitError: If there is nothing of this split.
    :raises ValueError: If the folder or the table is not of this format.
    """

    def __init__(
        self,
        split: str,
        kind: str,
        *,
        root: str,
        annotations: str | None = None,
        val_share: float = 0.2,
    ) -> None:
        check_split(split)
        if not 0 <= val_share < 1:
            raise ValueError(f'val_share must be at least 0 and less than 1, got {val_share}.')
        self.split, self._root, self._val_share = split, Path(root).expanduser(), val_share
        self.feature_set = read_feature_set(self._root)
        # Names may hold dots: not with_suffix().
        found = sorted(self._root.rglob('*.npy'))
        self._videos = {path.relative_to(self._root).as_posix()[: -len('.npy')] for path in found}
        self._arrays = OpenArrays(self._open)
        self.groups: dict[str, tuple[str, ...]] = {}
        self.actions: Sequence[Action] = ()
        self.changes: Sequence[StateChange] = ()
        table = None if annotations is None else Path(annotations).expanduser()
        self._labelled = f"'{table or self._root}' has no {'row' if table else 'video'}"
        if kind in ('recognition', 'anticipation'):
            rows = self._class_rows() if table is None else read_action_rows(table)
            self.groups, self.actions = self._read_actions(rows, table is not None)
        elif table is None:
            raise ValueError(
                f'annotations must name a table for a task of kind {kind}: folders of classes are '
                'for recognition.'
            )
        else:
            self.changes = [_change(row) for row in self._of_split(read_change_rows(table))]

    def features(self, video_uid: str) -> NDArray[np.floating]:
        """Return the features of a video, ``[N, D]``, float16 or float32."""
        return self._arrays[video_uid]

    def _open(self, video: str) -> NDArray[np.floating]:
        path = self._root / f'{video}.npy'
        try:
            array = load_array(path, mmap_mode='r')
        except (OSError, ValueError) as error:
            raise ValueError(f"'{path}' is not an array of features: {error}.") from error
        if array.ndim != 2 or not len(array) or array.shape[1] != self.feature_set.dim:
            raise ValueError(
                f"'{path}' must have the shape (N, {self.feature_set.dim}), N at least 1, got "
                f'{array.shape}.'
            )
        return array

    def _class_rows(self) -> list[ActionRow]:
        """Return what the folders of classes say; each video is one action, all of it."""
        rows = []
        for video in sorted(self._videos):
            split, label, *rest = (*video.split('/'), '')
            if split in SPLITS and any(rest):
                frames = (len(self.features(video)) - 1) * self.feature_set.stride
                end = (frames + self.feature_set.window) / RATE_HZ
                rows.append(ActionRow(video, 0.0, end, (label,), split))
        if not rows:
            raise ValueError(f"'{self._root}' has no folders of classes; the layout is {LAYOUT}.")
        return rows

    def _read_actions(
        self, rows: Sequence[ActionRow], of_table: bool
    ) -> tuple[dict[str, tuple[str, ...]], list[Action]]:
        # The labels of all splits together, so that they mean the same in each of them.
        tables = [sorted(set(column)) for column in zip(*(row.labels for row in rows))]
        places = [{name: i for i, name in enumerate(names)} for names in tables]
        chosen = sorted(self._of_split(rows), key=lambda row: row[:3])
        actions = []
        for index, row in enumerate(chosen):
            labels = [place[name] for place, name in zip(places, row.labels)]
            noun = labels[1] if len(labels) > 1 else None
            times = (round(row.start_sec * RATE_HZ), round(row.end_sec * RATE_HZ))
            actions.append(Action(row.video, row.video, index, *times, labels[0], noun))
        names = ('verb', 'noun') if of_table else (CLASS_GROUP,)
        return {name: tuple(table) for name, table in zip(names, tables)}, actions

    def _of_split(self, rows: Sequence[T]) -> list[T]:
        """Return the rows of the split whose videos have features, by the names of these."""
        chosen = [row for row in map(self._named, rows) if self._is_in_split(row)]
        if not chosen:
            raise NoSplitError(f"{self._labelled} of split '{self.split}'.")
        there = [row for row in chosen if row.video in self._videos]
        missing = sorted({row.video for row in chosen} - self._videos)
        if not there:
            raise ValueError(
                f"'{self._root}' has features of none of the {len(missing)} videos of split "
                f"'{self.split}', such as '{missing[0]}'; the layout is {LAYOUT}."
            )
        if missing:
            _LOGGER.warning(
                "%d videos of split '%s' have no features in '%s', such as '%s': %d of %d rows "
                'are left out.',
                len(missing),
                self.split,
                self._root,
                missing[0],
                len(chosen) - len(there),
                len(chosen),
            )
        return there

    def _named(self, row: T) -> T:
        # A table may as well name the file of the video.
        stem, dot, _ = row.video.rpartition('.')
        is_file = row.video not in self._videos and dot and stem in self._videos
        return row._replace(video=stem) if is_file else row

    def _is_in_split(self, row: ActionRow | ChangeRow) -> bool:
        if row.split is not None:
            return row.split == self.split
        if self.split == 'test':
            raise NoSplitError('the table of annotations has no column split, and so no test.')
        return is_held_out(row.video, self._val_share) == (self.split == 'val')


def read_feature_set(root: Path) -> FeatureSet:
    """
    Return how the features of a folder were extracted.

    :raises ValueError: If the folder does not tell, or they are not of 30 frames a second.
    """
    path = root / FACTS
    if not path.is_file():
        raise ValueError(f"'{path}' is not a file that exists; the layout is {LAYOUT}.")
    try:
        facts = json.loads(path.read_text(encoding='utf-8', errors='replace'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    where = f"'{path}'"
    if (rate := number_of(where, facts, 'rate_hz')) != RATE_HZ:
        raise ValueError(f'{where}: rate_hz must be {RATE_HZ}, got {rate}.')
    window, stride, dim = (count_of(where, facts, name) for name in ('window', 'stride', 'dim'))
    if not (window and stride and dim):
        raise ValueError(f'{where}: window, stride and dim must be positive, got {facts}.')
    return FeatureSet(str(root), window, stride, dim)


def _change(row: ChangeRow) -> StateChange:
    start, end = round(row.start_sec * RATE_HZ), round(row.end_sec * RATE_HZ)
    pnr = None if row.pnr_sec is None else round(row.pnr_sec * RATE_HZ)
    name = f'{row.video}, {row.start_sec:g} s'
    return StateChange(name, row.video, None, start, end, row.state_change, pnr)


def feature_folder(
    task: str,
    kind: str,
    split: str,
    *,
    settings: Any,
    graph: GraphConfig,
    root: str,
    annotations: str | None = None,
    val_share: float = 0.2,
    convention: str = 'forecasting',
    augment: bool | None = None,
) -> GraphDataset:
    """
    Your own videos: features by extract-features, with a table of who does what when or by class.

    :param settings: Of the task.
    :param graph: Of its trunk.
    :param root: The folder of features.
    :param annotations: A table; without one, the classes are folders within those of the splits.
    :param val_share: Of the videos of a table without a column split that are held out for val.
    :param convention: Of anticipation, forecasting or egopack.
    :param augment: Draw the moments of a window; default: in training.
    :raises ValueError: If the folder or the table is not of this format.
    """
    source = FeatureFolder(
        split, kind, root=root, annotations=annotations, val_share=float(val_share)
    )
    return windows_of(
        source, task, kind, settings=settings, graph=graph, augment=augment, convention=convention
    )
