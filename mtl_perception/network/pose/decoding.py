"""From the outputs of the heads to people: boxes, then the joints of each."""

from __future__ import annotations

from typing import NamedTuple

from mtl_perception.network.pose.association import (
    assign,
    INPUT_SIGMA,
    joint_cells,
    joint_maps,
    PoseResidualNetwork,
    window_sums,
)
from mtl_perception.network.pose.detection import decode_boxes, DetectionConfig, DetectionOutput
from mtl_perception.network.pose.keypoints import find_peaks, KeypointConfig
from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
import torch
from torch import Tensor
from torchvision.ops import batched_nms


class People(NamedTuple):
    """
    The people found in a batch of images, padded to N in each, best first.

    Coordinates are pixels of the network's input, (0, 0) being the centre of the first one.
    """

    boxes: Tensor  # [B, N, 4], xyxy
    box_scores: Tensor  # [B, N]; 0 for padding
    keypoints: Tensor  # [B, N, 17, 3]: x, y, score; NaN, NaN, 0 for a joint that was not found
    pose_scores: Tensor  # [B, N]: score of the box x mean score of all 17 joints

    @property
    def is_found(self) -> Tensor:
        """Tell padding from people, bool ``[B, N]``."""
        return self.box_scores > 0


def box_candidates(
    output: DetectionOutput, config: DetectionConfig, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    Return the most probable boxes of each level, cut at the image's borders.

    :return: Boxes ``[B, C, 4]`` and their scores ``[B, C]``, 0 below the smallest score; float32.
    """
    scores, places, first = [], [], 0
    for size, logits in zip(output.level_sizes, output.logits.split(output.level_sizes, 1)):
        best, place = logits.float().topk(min(config.max_candidates, size), dim=1)
        scores.append(best.sigmoid())
        places.append(place + first)
        first += size
    chosen, values = torch.cat(places, 1), torch.cat(scores, 1)
    deltas = output.deltas.float().gather(1, chosen[..., None].expand(-1, -1, 4))
    boxes = decode_boxes(deltas, output.anchors[chosen])
    height, width = image_size
    limits = torch.tensor([width, height, width, height], device=boxes.device)
    boxes = torch.minimum(boxes.clamp_min(0), limits)
    return boxes, torch.where(values > config.min_score, values, 0.0)


def suppress(boxes: Tensor, scores: Tensor, config: DetectionConfig) -> tuple[Tensor, Tensor]:
    """
    Return the boxes that no better one covers, at most ``max_people`` of each image.

    :param boxes: ``[B, C, 4]``; scores ``[B, C]``, 0 for what is none.
    :return: ``[B, N, 4]`` and ``[B, N]``, best first; a score of 0 marks padding.
    """
    images = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(scores)
    is_box = scores > 0
    kept = batched_nms(boxes[is_box], scores[is_box], images[is_box], config.nms_iou)
    survives = torch.zeros_like(scores[is_box])
    survives[kept] = 1.0
    values = torch.zeros_like(scores)
    values[is_box] = scores[is_box] * survives
    best, places = values.topk(min(config.max_people, values.shape[1]), dim=1)
    return boxes.gather(1, places[..., None].expand(-1, -1, 4)), best


def find_poses(
    heatmaps: Tensor,
    boxes: Tensor,
    scores: Tensor,
    network: PoseResidualNetwork,
    config: KeypointConfig,
) -> People:
    """
    Find the joints of every person, all people of all images in one call.

    A peak's claim to a box is its height times what the Pose Residual Network puts into the
    window around it; the network chooses among the peaks and moves none.

    :param heatmaps: ``[B, >= 17, h, w]``.
    :param boxes: ``[B, N, 4]``; a score of 0 in ``scores``, ``[B, N]``, marks padding.
    """
    peaks, heights = find_peaks(
        heatmaps[:, :NUM_KEYPOINTS], min_score=config.min_score, max_peaks=config.max_peaks
    )
    cells, is_inside = joint_cells(peaks[:, None], boxes[:, :, None, None], network.config)
    is_claimed = is_inside & (heights > 0)[:, None] & (scores > 0)[..., None, None]
    # Of the places for people most are empty. A GPU runs through them faster than it would count
    # them; on a CPU each costs as much as a person.
    is_person = (
        scores > 0 if scores.device.type == 'cpu' else torch.ones_like(scores, dtype=torch.bool)
    )
    own_cells = cells[is_person]
    impulses = (
        is_claimed * heights.clamp(0, 1)[:, None] if network.config.confusion else is_claimed
    )
    maps = joint_maps(own_cells, impulses[is_person], network.config, INPUT_SIGMA)
    dtype = next(network.parameters()).dtype
    probabilities = network(maps.to(dtype)).exp()
    sums = torch.zeros_like(cells, dtype=torch.float32)
    sums[is_person] = window_sums(probabilities, own_cells, network.config.window).float()
    claims = heights[:, None] * sums * is_claimed
    return gather_poses(peaks, heights, assign(claims), boxes, scores)


def gather_poses(
    peaks: Tensor, heights: Tensor, chosen: Tensor, boxes: Tensor, scores: Tensor
) -> People:
    """
    Return people with the peaks that were chosen for them.

    :param peaks: ``[B, 17, K, 2]`` and their heights, ``[B, 17, K]``.
    :param chosen: Number of the peak, -1 for none, ``[B, N, 17]``.
    """
    number = chosen.clamp_min(0).transpose(1, 2)  # [B, 17, N]
    places = peaks.gather(2, number[..., None].expand(-1, -1, -1, 2)).transpose(1, 2)
    joint_scores = heights.gather(2, number).transpose(1, 2).clamp(0, 1)
    is_missing = chosen < 0
    places = places.masked_fill(is_missing[..., None], torch.nan)
    joint_scores = joint_scores.masked_fill(is_missing, 0.0)
    keypoints = torch.cat([places, joint_scores[..., None]], -1)
    return People(boxes, scores, keypoints, scores * joint_scores.mean(-1))
