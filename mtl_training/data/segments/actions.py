"""Windows of annotated actions: what is done now, and what will be done next."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.data.annotations.ego4d import Action
from mtl_training.data.annotations.ego4d_windows import anticipation_windows, recognition_windows
from mtl_training.data.graph_sample import GraphSample, UNKNOWN
from mtl_training.data.segments.sampling import drawn_rows, even_rows
from mtl_training.data.segments.source import rows_of, seconds, SegmentSource
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset

_NO_SECONDS = torch.zeros(2)


class ActionWindows(Dataset[GraphSample]):
    """
    What the two data sets of actions share: each node is an action, seen at S moments.

    The moments are drawn in training, sorted, and even otherwise.

    :param windows: ``[W, N]`` indices of actions, all of a row from one video.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        task: str,
        source: SegmentSource,
        windows: NDArray[np.int64],
        num_features: int,
        *,
        augment: bool,
    ) -> None:
        rows = rows_of(source, source.actions, 'actions')
        self.task, self.groups, self.varies = task, dict(source.groups), augment
        self._source, self._windows, self._num_features = source, windows, num_features
        self._first, self._stop = rows.first[windows], rows.stop[windows]
        # [A, G]
        self._labels = label_numbers(source.actions, len(self.groups))

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    def _features(self, index: int) -> Tensor:
        """Return ``[N, S, D]`` of a window."""
        first, stop = self._first[index], self._stop[index]
        choose = drawn_rows if self.varies else even_rows
        rows = choose(first, stop, self._num_features)
        video = self._source.actions[int(self._windows[index, 0])].video_uid
        features = self._source.features(video)[rows]
        return torch.from_numpy(features.astype(np.float32, copy=False))

    def _described(self, index: int, action: Action) -> str:
        start, end = seconds(action.start_frame), seconds(action.end_frame)
        return f'{action.video_uid}, {start:.2f} s to {end:.2f} s'


class RecognitionWindows(ActionWindows):
    """
    Recognise an action from it and its neighbours (action recognition, AR).

    One window for each action, centred on it; at the ends of a clip the first and the last
    action are repeated.

    :param num_nodes: Actions of a window, odd.
    :param num_features: Moments of an action.
    :param augment: Draw the moments.
    :raises ValueError: If there is no action, or one without a label.
    """

    def __init__(
        self,
        task: str,
        source: SegmentSource,
        *,
        num_nodes: int = 9,
        num_features: int = 3,
        augment: bool = False,
    ) -> None:
        windows = recognition_windows(source.actions, num_nodes)
        super().__init__(task, source, windows, num_features, augment=augment)
        if (self._labels < 0).any():
            raise ValueError(
                f"split '{source.split}' has actions without labels, of which nothing can be "
                'learnt or judged.'
            )
        self._targets = torch.from_numpy(self._labels)
        seen, concept = np.unique(self._labels, axis=0, return_inverse=True)
        tables = list(self.groups.values())
        names = [' '.join(t[i] for t, i in zip(tables, row)) for row in seen.tolist()]
        order = sorted(range(len(names)), key=names.__getitem__)
        self.concepts = tuple(names[i] for i in order)
        self._concepts = np.argsort(order)[concept.reshape(-1)]

    def __getitem__(self, index: int) -> GraphSample:
        """Return one window."""
        return GraphSample(self._features(index), self._targets[index], _NO_SECONDS, index)

    def concept_of(self, index: int) -> int:
        """Return the place of the labels of a window's action among the concepts."""
        return int(self._concepts[index])

    def describe(self, index: int) -> str:
        """Return the video and the time of the action, and what is done."""
        text = self._described(index, self._source.actions[index])
        return f'{text}: {self.concepts[self.concept_of(index)]}'


class AnticipationWindows(ActionWindows):
    """
    Foresee the actions to come from the last ones (long-term anticipation, LTA).

    :param num_inputs: Actions that are seen.
    :param num_futures: Actions to foresee.
    :param num_features: Moments of an action.
    :param convention: Which runs of actions are windows; see :func:`anticipation_windows`.
    :param augment: Draw the moments.
    :raises ValueError: If no clip has enough actions.
    """

    def __init__(
        self,
        task: str,
        source: SegmentSource,
        *,
        num_inputs: int = 2,
        num_futures: int = 20,
        num_features: int = 3,
        convention: str = 'forecasting',
        augment: bool = False,
    ) -> None:
        windows = anticipation_windows(
            source.actions,
            num_inputs=num_inputs,
            num_futures=num_futures,
            convention=convention,
        )
        if not len(windows):
            raise ValueError(
                f"split '{source.split}' has no clip of {num_inputs} + {num_futures} actions, "
                'num_inputs and num_futures, one after the other.'
            )
        super().__init__(task, source, windows[:, :num_inputs], num_features, augment=augment)
        # [W, F, G]
        self._targets = torch.from_numpy(self._labels[windows[:, num_inputs:]])

    def __getitem__(self, index: int) -> GraphSample:
        """Return one window."""
        return GraphSample(self._features(index), self._targets[index], _NO_SECONDS, index)

    def describe(self, index: int) -> str:
        """Return the video and the time of the last action that is seen."""
        return self._described(index, self._source.actions[int(self._windows[index, -1])])


def label_numbers(actions: Sequence[Action], num_groups: int) -> NDArray[np.int64]:
    """Return the labels of actions, ``[A, G]``; UNKNOWN where there is none."""
    rows = [(action.verb, action.noun)[:num_groups] for action in actions]
    known = [[UNKNOWN if label is None else label for label in row] for row in rows]
    return np.array(known, np.int64).reshape(len(actions), num_groups)
