"""How much of each person is seen: an image of numbers instead of colours."""

from collections.abc import Sequence

from mtl_training.data.synthetic.shapes import outline, Part
import numpy as np
from numpy.typing import NDArray


def seen_areas(
    parts: Sequence[Part],
    owners: Sequence[int],
    occluders: Sequence[Part],
    num_people: int,
    order: Sequence[Sequence[int]],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """
    Count the pixels that show each person, as COCO's segments do: what is hidden does not count.

    :param parts: What is drawn, and ``occluders`` before all of it.
    :param owners: The person of each part; -1 nobody.
    :param order: Which parts are drawn at each time, the farthest first.
    :param size: Height and width of the images, pixels.
    :return: ``[T, P]``, square pixels.
    """
    areas = np.zeros((len(order), num_people))
    for t, farthest_first in enumerate(order):
        numbers = np.zeros(size, np.uint8)
        for index in farthest_first:
            outline(numbers, parts[index], t, owners[index] + 1)
        for part in occluders:
            outline(numbers, part, t, 0)
        areas[t] = np.bincount(numbers.ravel(), minlength=num_people + 1)[1:]
    return areas
