"""The people of one image: those found, and those who are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
import numpy as np
from torch import Tensor

JOINTS = (NUM_KEYPOINTS, 3)
People = TypeVar('People', bound='FoundPeople | TruePeople')


class FoundPeople(NamedTuple):
    """
    Who was found in an image, as tensors or arrays on any device.

    Coordinates are pixels of the original image: COCO's size classes are in those.
    """

    boxes: Any  # [N, 4], xyxy
    box_scores: Any  # [N]
    keypoints: Any  # [N, 17, 3]: x, y, score; x and y are NaN where a joint was not found
    pose_scores: Any  # [N]; of no meaning where not a single joint was found


class TruePeople(NamedTuple):
    """Who is in an image, in the same pixels."""

    boxes: Any  # [P, 4], xyxy
    keypoints: Any  # [P, 17, 3]: x, y, visibility; visibility 0 has no annotation
    areas: Any  # [P], of the segment as COCO has it, square pixels
    is_crowd: Any  # [P]; regions that count neither for nor against what was found
    activities: Any  # [P], label numbers


SHAPES: Mapping[str, tuple[int, ...]] = {'boxes': (4,), 'keypoints': JOINTS}  # others: numbers
DTYPES: Mapping[str, type] = {'is_crowd': bool, 'activities': np.int64}  # others: float64


def as_arrays(people: People, name: str) -> People:
    """
    Return people as arrays of their own on the CPU.

    :param name: Of the argument, for errors.
    :raises ValueError: If a field has another shape than its people ask for.
    """
    fields: dict[str, Any] = people._asdict()
    arrays = {field: _array(field, values) for field, values in fields.items()}
    count = len(arrays['boxes'])
    for field, array in arrays.items():
        expected = (count, *SHAPES.get(field, ()))
        if array.shape != expected:
            raise ValueError(f'{name}.{field} must be {list(expected)}, got {list(array.shape)}.')
    return type(people)(**arrays)


def to_lists(people: FoundPeople | TruePeople) -> dict[str, list[Any]]:
    """Return arrays of people as plain lists, with None in the place of NaN."""
    fields: dict[str, Any] = people._asdict()
    none = np.array(None)
    return {
        field: np.where(array != array, none, array).tolist() for field, array in fields.items()
    }


def from_lists(kind: type[People], lists: Mapping[str, Sequence[Any]]) -> People:
    """Return the people that :func:`to_lists` wrote."""
    arrays = {field: _array(field, values) for field, values in lists.items()}
    return kind(**{f: array.reshape(-1, *SHAPES.get(f, ())) for f, array in arrays.items()})


def _array(field: str, values: Any) -> Any:
    # By way of float64, as arrays have no bfloat16.
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    return np.array(plain, dtype=DTYPES.get(field, np.float64))
