"""Outputs of the dense heads that show a given number of people, for timing what decodes them."""

from __future__ import annotations

from typing import Any

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.detection import DetectionOutput, encode_boxes
from mtl_perception.network.pose.keypoints import KeypointOutput
from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
from mtl_training.criteria.keypoints import heatmap_targets
import torch
from torch import Tensor
from torchvision.ops import box_iou

Size = tuple[int, int]


def crowd(count: int, size: Size, device: str) -> tuple[Tensor, Tensor]:
    """
    Return people who stand in rows and overlap their neighbours a little.

    :return: Boxes xyxy ``[N, 4]`` and joints ``[N, 17, 3]`` as (x, y, visibility), pixels.
    """
    columns = min(count, 7)
    rows = -(-count // columns)
    cell = torch.tensor([size[1] / columns, size[0] / rows])
    number = torch.arange(count)
    middles = (torch.stack([number % columns, number // columns], 1) + 0.5) * cell
    height = min(0.9 * float(cell[1]), 0.6 * size[0])
    sides = torch.tensor([min(1.15 * float(cell[0]), 0.5 * height), height])
    boxes = torch.cat([middles - sides / 2, middles + sides / 2], 1)
    places = torch.rand(count, NUM_KEYPOINTS, 2, generator=torch.Generator().manual_seed(0))
    joints = boxes[:, None, :2] + sides * (0.05 + 0.9 * places)
    visible = torch.full((count, NUM_KEYPOINTS, 1), 2.0)
    return boxes.to(device), torch.cat([joints, visible], 2).to(device)


def outputs_of(
    network: MultiTaskNetwork, outputs: dict[str, Any], count: int, size: Size, device: str
) -> dict[str, Any]:
    """
    Return outputs as a trained network would give them of a crowd.

    All anchors that overlap a person by 0.4 or more find them, the better the surer, so that a
    non-maximum suppression has its work; heatmaps are those that training asks for.

    :param outputs: Of the network for an image of that size.
    """
    boxes, joints = crowd(count, size, device)
    task, joint_task = (network.config.task_of_kind(kind) for kind in ('detection', 'keypoints'))
    assert task is not None
    assert joint_task is not None
    plain: DetectionOutput = outputs[task]
    # Whoever stands between all anchors is seen, too.
    of_all = box_iou(plain.anchors, boxes)
    (overlaps, person), best = of_all.max(1), of_all.argmax(0)
    overlaps[best], person[best] = 1.0, torch.arange(count, device=device)
    logits = torch.where(overlaps >= 0.4, 6 * overlaps - 2, -5.0)
    deltas = encode_boxes(boxes[person], plain.anchors)
    heatmaps = heatmap_targets(joints[None], (size[0] // 4, size[1] // 4), size[0] / 70)
    return {
        task: plain._replace(logits=logits[None], deltas=deltas[None]),
        joint_task: KeypointOutput(heatmaps, ()),
    }
