"""A source of windows whose features tell where they are from."""

from collections.abc import Sequence
from typing import Any

from mtl_training.data.annotations.ego4d import Action, StateChange
from mtl_training.data.annotations.ego4d_rows import FeatureSet
import numpy as np
from numpy.typing import NDArray

STRIDE, WINDOW = 16, 32


class MadeUpSource:
    """Videos a and b; the features of row r are (r, r + 0.5), plus 1000 in b."""

    split = 'train'
    feature_set = FeatureSet('made_up', WINDOW, STRIDE, 2)
    groups = {'verb': ('take', 'put'), 'noun': ('cup', 'pan')}

    def __init__(
        self,
        actions: Sequence[Action] = (),
        changes: Sequence[StateChange] = (),
        num_rows: int = 40,
        dtype: Any = np.float32,
    ) -> None:
        self.actions, self.changes = actions, changes
        self._rows = (np.arange(num_rows)[:, None] + [0, 0.5]).astype(dtype)

    def features(self, video_uid: str) -> NDArray[np.floating]:
        return self._rows + (1000 if video_uid == 'b' else 0)


def action(place: int, start_row: int, end_row: int, verb: int = 0, noun: int = 0) -> Action:
    return Action('a', 'a', place, start_row * STRIDE, end_row * STRIDE, verb, noun)


def change(start: int, end: int, moment: int | None) -> StateChange:
    return StateChange(f'{start}', 'a', None, start, end, moment is not None, moment)
