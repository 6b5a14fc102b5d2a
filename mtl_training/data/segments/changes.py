"""Windows around changes of state: whether an object changes, and when it can't go back."""

from __future__ import annotations

import logging

from mtl_perception.network.temporal_graph.config import STATE_CHANGES
from mtl_training.data.annotations.ego4d import RATE_HZ, StateChange
from mtl_training.data.graph_sample import GraphSample
from mtl_training.data.segments.sampling import drawn_rows, drawn_window, even_rows, interpolated
from mtl_training.data.segments.source import (
    centre_frame,
    report_clamped,
    rows_of,
    seconds,
    SegmentSource,
)
import numpy as np
import torch
from torch.utils.data import Dataset

_LOGGER = logging.getLogger(__name__)
JITTER_SECONDS = (5.0, 8.0)
_NO_SECONDS = torch.zeros(2)


class StateChangeWindows(Dataset[GraphSample]):
    """
    Tell whether an object changes its state (object state change classification, OSCC).

    The interval is seen at N x S moments, drawn in training and even otherwise, sorted; S
    consecutive ones make a node.

    :param num_nodes: N.
    :param num_features: S.
    :param augment: Draw the moments.
    :raises ValueError: If there is no labelled interval.
    """

    labels: tuple[str, ...] = STATE_CHANGES
    groups: dict[str, tuple[str, ...]] = {}

    def __init__(
        self,
        task: str,
        source: SegmentSource,
        *,
        num_nodes: int = 4,
        num_features: int = 3,
        augment: bool = False,
    ) -> None:
        self._changes = [c for c in source.changes if c.state_change is not None]
        self._rows = rows_of(source, self._changes, 'intervals')
        self.task, self.varies, self._source = task, augment, source
        self._shape = (num_nodes, num_features)
        self._targets = torch.tensor([int(bool(c.state_change)) for c in self._changes])

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self._changes)

    def __getitem__(self, index: int) -> GraphSample:
        """Return one window."""
        first, stop = (rows[index : index + 1] for rows in (self._rows.first, self._rows.stop))
        num_nodes, num_features = self._shape
        choose = drawn_rows if self.varies else even_rows
        rows = choose(first, stop, num_nodes * num_features).reshape(self._shape)
        features = self._source.features(self._changes[index].video_uid)[rows]
        values = torch.from_numpy(features.astype(np.float32, copy=False))
        return GraphSample(values, self._targets[index], _NO_SECONDS, index)

    def describe(self, index: int) -> str:
        """Return the video and the time, and what happens."""
        change = self._changes[index]
        return f'{_where(change)}: {STATE_CHANGES[bool(change.state_change)]}'

    def counts(self) -> list[int]:
        """Return the number of intervals of each label."""
        return torch.bincount(self._targets, minlength=len(STATE_CHANGES)).tolist()


class PointOfNoReturnWindows(Dataset[GraphSample]):
    """
    Find the moment from which a change of state can't be undone (point of no return, PNR).

    Node i of N stands for the moment i / N of the window; its features are interpolated between
    the rows whose windows have their middle before and after that moment, and repeated S times.
    The target is the nearest node. In training the window is drawn so that it contains the point
    of no return: 5 to 8 s of the interval. (EgoPack's code draws the start from U(8 - L, 1) in
    place of U(0, 8 - L).)

    :param num_nodes: N.
    :param num_features: S.
    :param jitter_seconds: Shortest and longest window in training.
    :param augment: Draw the windows; otherwise they are whole intervals.
    :raises ValueError: If no interval has a point of no return, or the jitter is no range.
    """

    labels: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}

    def __init__(
        self,
        task: str,
        source: SegmentSource,
        *,
        num_nodes: int = 16,
        num_features: int = 3,
        jitter_seconds: tuple[float, float] = JITTER_SECONDS,
        augment: bool = False,
    ) -> None:
        shortest, longest = jitter_seconds
        if not 0 < shortest <= longest:
            raise ValueError(
                'jitter_seconds must be the shortest and the longest window, both positive, got '
                f'{jitter_seconds}.'
            )
        self._changes = _with_moment(source)
        report_clamped(source, self._changes)
        self.task, self.varies, self._source = task, augment, source
        self._num_features = num_features
        self._jitter = (shortest * RATE_HZ, longest * RATE_HZ)
        self._shares = np.arange(num_nodes) / num_nodes
        middle = centre_frame(source.feature_set, np.zeros(1, np.int64)).item()
        self._offset, self._stride = middle, source.feature_set.stride

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self._changes)

    def __getitem__(self, index: int) -> GraphSample:
        """Return one window."""
        change = self._changes[index]
        moment = float(_moment(change) - change.start_frame)
        start, length = 0.0, float(change.end_frame - change.start_frame)
        if self.varies:
            start, length = drawn_window(length, moment, *self._jitter)
        moment -= start
        frames = change.start_frame + start + self._shares * length
        places = (frames - self._offset) / self._stride
        features = interpolated(self._source.features(change.video_uid), places)
        values = torch.from_numpy(features)[:, None].repeat(1, self._num_features, 1)
        num_nodes = len(self._shares)
        nearest = min(int(moment * num_nodes / length + 0.5), num_nodes - 1)
        times = torch.tensor((length / RATE_HZ, moment / RATE_HZ))
        return GraphSample(values, torch.tensor(nearest), times, index)

    def describe(self, index: int) -> str:
        """Return the video and the time, and when it happens."""
        change = self._changes[index]
        return f'{_where(change)}: {seconds(_moment(change)):.2f} s'


def _with_moment(source: SegmentSource) -> list[StateChange]:
    changes = [c for c in source.changes if c.state_change and c.pnr_frame is not None]
    found = [c for c in changes if c.start_frame <= _moment(c) <= c.end_frame > c.start_frame]
    if len(found) < len(changes):
        _LOGGER.warning(
            "%d of %d intervals of split '%s' are left out: their point of no return lies "
            'outside.',
            len(changes) - len(found),
            len(changes),
            source.split,
        )
    if not found:
        raise ValueError(f"split '{source.split}' has no interval with a point of no return.")
    return found


def _moment(change: StateChange) -> int:
    assert change.pnr_frame is not None
    return change.pnr_frame


def _where(change: StateChange) -> str:
    start, end = seconds(change.start_frame), seconds(change.end_frame)
    return f'{change.video_uid}, {start:.2f} s to {end:.2f} s'
