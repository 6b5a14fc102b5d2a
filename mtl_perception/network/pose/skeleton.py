"""The joints of a person as COCO names them, and how alike two poses are."""

from __future__ import annotations

import torch
from torch import Tensor

# Left and right are the person's own.
KEYPOINTS: tuple[str, ...] = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
NUM_KEYPOINTS = len(KEYPOINTS)
# Where each joint is found once an image has been mirrored.
FLIPPED: tuple[int, ...] = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
# Pairs of joints that are drawn as limbs, numbered from 0.
LIMBS: tuple[tuple[int, int], ...] = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
)
# How far people disagree about a joint, as a share of the person's size (COCO's evaluation).
OKS_SIGMAS: tuple[float, ...] = (
    0.026,
    0.025,
    0.025,
    0.035,
    0.035,
    0.079,
    0.079,
    0.072,
    0.072,
    0.062,
    0.062,
    0.107,
    0.107,
    0.087,
    0.087,
    0.089,
    0.089,
)


def object_keypoint_similarity(found: Tensor, truth: Tensor, areas: Tensor) -> Tensor:
    """
    Return the object keypoint similarity of every found pose with every true one (COCO).

    :param found: ``[N, 17, >=2]`` as (x, y, ...), pixels.
    :param truth: ``[M, 17, 3]`` as (x, y, visibility); joints of visibility 0 do not count.
    :param areas: Of the true people, ``[M]``, square pixels.
    :return: ``[N, M]`` in [0, 1]; 0 for a truth without a single joint. Joints that were not found
        (NaN) are infinitely far away.
    """
    sigmas = torch.tensor(OKS_SIGMAS, dtype=truth.dtype, device=truth.device)
    variances = 2 * (2 * sigmas).square() * (areas[:, None] + torch.finfo(torch.float64).eps)
    distances = (found[:, None, :, :2] - truth[None, :, :, :2]).square().sum(-1)
    alike = torch.exp(-distances / variances).nan_to_num(0.0)
    counts = (truth[..., 2] > 0).to(truth.dtype)
    return (alike * counts).sum(-1) / counts.sum(-1).clamp_min(1)
