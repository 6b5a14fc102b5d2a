"""Who of those found is who of those who are there."""

from __future__ import annotations

from scipy.optimize import linear_sum_assignment
import torch
from torch import Tensor
from torchvision.ops import box_iou


def match_people(
    found_boxes: Tensor,
    true_boxes: Tensor,
    is_crowd: Tensor | None = None,
    *,
    min_iou: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """
    Match boxes one to one such that the sum of their IoU is largest (Kuhn, 1955).

    It serves both to score what found people do, and to follow people from frame to frame.

    :param found_boxes: ``[N, 4]``, xyxy.
    :param true_boxes: ``[P, 4]``, xyxy; boxes without an area, as of absent people, match nobody.
    :param is_crowd: Of the true boxes, ``[P]``; these match nobody.
    :param min_iou: Of a match.
    :return: The numbers of the found and of the true boxes of each match, two ``[K]`` in
        ascending order of the found ones, on the device of ``found_boxes``.
    :raises ValueError: If ``min_iou`` is not in (0, 1].
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f'min_iou must be in (0, 1], got {min_iou}.')
    # Two boxes without an area have an IoU of 0 / 0.
    overlaps = box_iou(found_boxes.float(), true_boxes.float()).nan_to_num(0.0)
    if is_crowd is not None:
        overlaps = overlaps.masked_fill(is_crowd.bool(), 0.0)
    worth = overlaps.masked_fill(overlaps < min_iou, 0.0).cpu()
    found, true = (torch.from_numpy(n) for n in linear_sum_assignment(worth, maximize=True))
    is_match = worth[found, true] > 0
    return found[is_match].to(found_boxes.device), true[is_match].to(found_boxes.device)
