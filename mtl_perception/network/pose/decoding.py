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
from torchvision.ops import batched_nms, nms


class People(NamedTuple):
    """
    The people found in a batch of images, padded to N in each, best first.

    Coordinates are pixels of the network's input, (0, 0) being the centre of the first one.
    """

    boxes: Tensor  # [B, N, 4], xyxy
    box_scores: Tensor  # [B, N]; 0 for padding
    keypoints: Tensor  # [B, N, 17, 3]: x, y, score; NaN, NaN, 0 for a joint that was not found
    # [B, N]: score of the box x mean score of all 17 joints; NaN where whose the joints are is not
    # a number.
    pose_scores: Tensor

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
        scores.append(best)
        places.append(place + first)
        first += size
    chosen, values = torch.cat(places, 1), torch.cat(scores, 1).sigmoid()
    deltas = output.deltas.float().gather(1, chosen[..., None].expand(-1, -1, 4))
    boxes = decode_boxes(deltas, output.anchors[chosen])
    height, width = image_size
    # The outer edges of the first and of the last pixels.
    boxes[..., 0::2].clamp_(-0.5, width - 0.5)
    boxes[..., 1::2].clamp_(-0.5, height - 0.5)
    return boxes, torch.where(values > config.min_score, values, 0.0)


def suppress(boxes: Tensor, scores: Tensor, config: DetectionConfig) -> tuple[Tensor, Tensor]:
    """
    Return the boxes that no better one covers, at most ``max_people`` of each image.

    :param boxes: ``[B, C, 4]``; scores ``[B, C]``, 0 for what is none.
    :return: ``[B, N, 4]`` and ``[B, N]``, best first; a score of 0 marks padding.
    """
    flat = scores.flatten()
    # Counted once: a GPU is waited for each time.
    rows = (flat > 0).nonzero()[:, 0]
    found = boxes.flatten(0, 1)[rows], flat[rows]
    if len(scores) == 1:
        kept = rows[nms(*found, config.nms_iou)]
    else:
        kept = rows[batched_nms(*found, rows // scores.shape[1], config.nms_iou)]
    values = torch.zeros_like(flat).index_copy(0, kept, flat[kept]).view_as(scores)
    best, places = values.topk(min(config.max_people, values.shape[1]), dim=1)
    return boxes.gather(1, places[..., None].expand(-1, -1, 4)), best


def find_poses(
    heatmaps: Tensor,
    boxes: Tensor,
    scores: Tensor,
    network: PoseResidualNetwork,
    config: KeypointConfig,
    *,
    skips_padding: bool | None = None,
) -> People:
    """
    Find the joints of every person, all people of all images in one call.

    A peak's claim to a box is its height times what the Pose Residual Network puts into the
    window around it; the network chooses among the peaks and moves none.

    :param heatmaps: ``[B, >= 17, h, w]``.
    :param boxes: ``[B, N, 4]``; a score of 0 in ``scores``, ``[B, N]``, marks padding.
    :param skips_padding: Whether padding is left out, not computed like people; None does so on a
        CPU alone. The result is the same.
    """
    peaks, heights = find_peaks(
        heatmaps[:, :NUM_KEYPOINTS], min_score=config.min_score, max_peaks=config.max_peaks
    )
    # Of the places for people and for peaks most are empty. A GPU runs through them faster than it
    # would count them; on a CPU each costs as much as a person.
    if skips_padding is None:
        skips_padding = scores.device.type == 'cpu'
    rows: Tensor | slice = slice(None)
    if skips_padding:
        rows = (scores > 0).flatten().nonzero()[:, 0]
        # One stays where there is none: to be gathered.
        most = max(1, int((heights > 0).flatten(0, 1).any(0).sum()))
        peaks, heights = peaks[:, :, :most], heights[:, :, :most]
    cells, is_inside = joint_cells(peaks[:, None], boxes[:, :, None, None], network.config)
    is_claimed = is_inside & (heights > 0)[:, None] & (scores > 0)[..., None, None]
    own_cells = cells.flatten(0, 1)[rows]
    impulses = (
        is_claimed * heights.clamp(0, 1)[:, None] if network.config.confusion else is_claimed
    )
    maps = joint_maps(own_cells, impulses.flatten(0, 1)[rows], network.config, INPUT_SIGMA)
    dtype = next(network.parameters()).dtype
    probabilities = network(maps.to(dtype)).exp()
    sums = torch.zeros_like(cells, dtype=torch.float32)
    sums.flatten(0, 1)[rows] = window_sums(probabilities, own_cells, network.config.window).float()
    claims = heights[:, None] * sums * is_claimed
    found = gather_poses(peaks, heights, assign(claims), boxes, scores)
    # What is not a number claims nothing: it would look like somebody whose joints are hidden.
    is_broken = claims.isnan().flatten(2).any(2)
    return found._replace(pose_scores=found.pose_scores.masked_fill(is_broken, torch.nan))


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
