"""The classes of Cityscapes: 19 to be told apart, or 7 groups of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
# Groups in the order of MTAN's copy (flat is 0). Ids follow names. Other code has other orders,
# so numbers of single groups are not to be compared with theirs.
GROUPS: dict[str, dict[str, int]] = {
    'flat': {'road': 7, 'sidewalk': 8, 'parking': 9, 'rail track': 10},
    'construction': {
        'building': 11,
        'wall': 12,
        'fence': 13,
        'guard rail': 14,
        'bridge': 15,
        'tunnel': 16,
    },
    'object': {'pole': 17, 'polegroup': 18, 'traffic light': 19, 'traffic sign': 20},
    'nature': {'vegetation': 21, 'terrain': 22},
    'sky': {'sky': 23},
    'human': {'person': 24, 'rider': 25},
    'vehicle': {
        'car': 26,
        'truck': 27,
        'bus': 28,
        'caravan': 29,
        'trailer': 30,
        'train': 31,
        'motorcycle': 32,
        'bicycle': 33,
    },
}
# Too rare to be scored: of none of the 19 classes, though of a group.
UNSCORED = frozenset(
    {'parking', 'rail track', 'guard rail', 'bridge', 'tunnel', 'polegroup', 'caravan', 'trailer'}
)


class ClassMap(NamedTuple):
    """What becomes of the ids in the files."""

    names: tuple[str, ...]
    table: NDArray[np.uint8]  # [256], class of an id; 255 where it is ignored

    def __call__(self, label_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """
        Return the classes of the pixels, 255 where they are ignored.

        :param label_ids: As in the files, of any shape.
        """
        return self.table[label_ids]


def nineteen_classes() -> ClassMap:
    """Return the 19 classes of the benchmark, in its order."""
    ids = {name: i for group in GROUPS.values() for name, i in group.items()}
    names = tuple(name for name in ids if name not in UNSCORED)
    return ClassMap(names, _table({ids[name]: i for i, name in enumerate(names)}))


def seven_classes(*, with_unscored: bool = True) -> ClassMap:
    """
    Return the 7 groups of classes, named categories in the benchmark.

    :param with_unscored: Whether ids of none of the 19 classes belong to their group, as in the
        benchmark's definition, or are ignored, as in its scores. It changes the mean of
        intersections over unions.
    """
    classes = {
        label_id: i
        for i, group in enumerate(GROUPS.values())
        for name, label_id in group.items()
        if with_unscored or name not in UNSCORED
    }
    return ClassMap(tuple(GROUPS), _table(classes))


def _table(classes: dict[int, int]) -> NDArray[np.uint8]:
    table = np.full(256, IGNORED, np.uint8)
    table[list(classes)] = list(classes.values())
    return table
