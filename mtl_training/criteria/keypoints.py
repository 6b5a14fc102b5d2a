"""Masked L2 between heatmaps and Gaussians at the joints (Kocabas et al., 2018)."""

from __future__ import annotations

from functools import reduce

from mtl_perception.network.pose.keypoints import HEATMAP_STRIDE, KeypointOutput
from mtl_training.criteria.contract import Criterion
from mtl_training.data.frame_sample import FrameBatch
import torch
from torch import Tensor

CUT = 4.6052  # in the exponent: values below 0.01 are 0


class KeypointCriterion(Criterion):
    """
    Masked L2 of the final heatmaps and of those of each level (intermediate supervision).

    ``sum over cells of W (H - S)^2 / 2``, as the source's code has it, divided by the number of
    joints in the image, so that an image of one person counts as much as one of a crowd, which the
    source's does not; and scaled so that a map of zeros costs about one: of that constant Adam
    sees nothing, gradient clipping and the weighting of tasks do.

    :param sigma: Of the Gaussian at a joint, in pixels of the network's input; 7 at 480 x 480.
    :param intermediate: Weight of each level's own heatmaps.
    :param emphasis: How much more a cell at a joint counts, ``W (1 + emphasis S)``; 0 as in the
        source. Joints are few cells among many: above 0, a network that starts from random weights
        finds them many times sooner.
    """

    def __init__(
        self, *, sigma: float = 7.0, intermediate: float = 1.0, emphasis: float = 0.0
    ) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f'sigma must be positive, got {sigma}.')
        if not intermediate >= 0:
            raise ValueError(f'intermediate must not be negative, got {intermediate}.')
        if not emphasis >= 0:
            raise ValueError(f'emphasis must not be negative, got {emphasis}.')
        self._sigma, self._intermediate, self._emphasis = sigma, intermediate, emphasis

    def forward(self, outputs: KeypointOutput, batch: FrameBatch) -> Tensor:
        """Return the loss of every image, ``[1, B]``."""
        size = outputs.heatmaps.shape[2:]
        joints = batch.keypoints[:, :, -1]
        targets = heatmap_targets(joints, (size[0], size[1]), self._sigma)
        counts = (joints[..., 2] > 0).sum((1, 2)).clamp_min(1)
        # What a Gaussian of this width sums up to, squared, on the grid of the heatmaps.
        energy = torch.pi * (self._sigma / HEATMAP_STRIDE) ** 2
        mask = batch.masks[:, None] * (1 + self._emphasis * targets)
        # The background is no joint.
        mask[:, -1:] = batch.masks[:, None].to(mask)
        maps = [(outputs.heatmaps, 1.0), *((m, self._intermediate) for m in outputs.intermediate)]
        losses = sum(
            weight * ((heatmaps.float() - targets).square() * mask).sum((1, 2, 3))
            for heatmaps, weight in maps
        )
        assert isinstance(losses, Tensor)
        total = 1.0 + self._intermediate * len(outputs.intermediate)
        return (losses / (total * energy * counts)).unsqueeze(0)

    figure = 'joints'
    kind = 'regression'

    @torch.no_grad()
    def fit(self, outputs: KeypointOutput, batch: FrameBatch) -> Tensor:
        """Return the share of visible joints at which the heatmap exceeds one half of the peak."""
        heatmaps = outputs.heatmaps.float()
        joints = batch.keypoints[:, :, -1]
        height, width = heatmaps.shape[2:]
        cells = (joints[..., :2] / HEATMAP_STRIDE).long()
        x, y = cells[..., 0].clamp(0, width - 1), cells[..., 1].clamp(0, height - 1)
        values = heatmaps[:, : joints.shape[2]].flatten(2)
        found = values.gather(2, (y * width + x).transpose(1, 2)).transpose(1, 2) > 0.5
        counts = joints[..., 2] == 2
        return (found & counts).sum() / counts.sum().clamp_min(1)


@torch.no_grad()
def heatmap_targets(joints: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """
    Return the heatmaps to be learnt, ``[B, 18, h, w]``: the largest Gaussian of each joint.

    ``exp(-d^2 / (2 sigma^2))`` at the middle of each cell, 0 below 0.01; the last map is what all
    joints lack to 1. The source's code sums the Gaussians of all people and clips: close people
    then make a peak where nobody's joint is.

    :param joints: (x, y, visibility), ``[B, P, 17, 3]``, pixels; joints of visibility 0 are left
        out.
    :param size: Height and width of the heatmaps.
    """
    middle = (HEATMAP_STRIDE - 1) / 2
    columns, rows = (
        torch.arange(side, device=joints.device, dtype=torch.float32) * HEATMAP_STRIDE + middle
        for side in (size[1], size[0])
    )
    # The exponent is a sum of one part per axis.
    x = (columns - joints[..., :1]).square() / (2 * sigma**2)
    y = (rows - joints[..., 1:2]).square() / (2 * sigma**2)
    x = x.masked_fill(joints[..., 2:] <= 0, torch.inf)
    batch, people, number = joints.shape[:3]
    if people == 0:
        maps = torch.zeros(batch, number, *size, device=joints.device)
    else:
        # Largest Gaussian = smallest exponent; one person after the other keeps memory small.
        exponents = (y[:, p, :, :, None] + x[:, p, :, None, :] for p in range(people))
        nearest = reduce(torch.minimum, exponents)
        maps = torch.where(nearest <= CUT, torch.exp(-nearest), 0.0)
    background = (1 - maps.amax(1, keepdim=True)).clamp(0, 1)
    return torch.cat([maps, background], 1)
