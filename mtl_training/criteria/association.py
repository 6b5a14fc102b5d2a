"""Whose joints are whose: the loss of the Pose Residual Network, on annotations alone."""

from __future__ import annotations

from mtl_perception.network.pose.association import (
    AssociationConfig,
    INPUT_SIGMA,
    joint_cells,
    joint_maps,
    TARGET_SIGMA,
    window_sums,
)
from mtl_perception.network.pose.skeleton import FLIPPED
from mtl_training.criteria.contract import Criterion, mean_of_people
from mtl_training.data.frame_sample import FrameBatch
import torch
from torch import Tensor

MIN_JOINTS = 4  # people with fewer annotated joints teach nothing
# Of peaks: heights of the right one and of that at the mirror image where both are there, how
# often there is none, and how far it is off, as a share of the box.
OWN_HEIGHTS, OTHER_HEIGHTS = (0.3, 1.0), (0.1, 0.8)
SURE = 0.8  # least height of a peak that is the only one
MISSED, JITTER = 0.03, 0.01


class AssociationCriterion(Criterion):
    """
    Binary cross-entropy over the cells of each person's maps, times their number per joint.

    The input holds the joints of everybody in the enlarged box, the target those of the person.
    The mean over the cells is tiny, as nearly all are 0; the sum over those of a joint is not.

    :param config: Settings of the network's head.
    """

    def __init__(self, config: AssociationConfig) -> None:
        super().__init__()
        self._config = config

    def forward(self, outputs: Tensor, batch: FrameBatch) -> Tensor:
        """Return the mean loss of the people of every image, ``[1, B]``."""
        targets = self._targets(batch)
        log_positive = outputs.flatten(0, 1) if outputs.ndim == 5 else outputs
        probabilities = log_positive.exp().clamp(max=1 - 1e-6)
        losses = -(
            targets * log_positive.clamp_min(-50) + (1 - targets) * torch.log1p(-probabilities)
        )
        per_person = losses.sum((2, 3)).mean(1).view_as(batch.is_person)
        return mean_of_people(per_person, counted(batch)).unsqueeze(0)

    figure = 'owned'

    @torch.no_grad()
    def fit(self, outputs: Tensor, batch: FrameBatch) -> Tensor:
        """Return the probability that the network leaves around the person's own joints."""
        cells, is_inside = own_cells(batch, self._config)
        sums = window_sums(outputs.exp(), cells, self._config.window).squeeze(-1)
        counts = is_inside.squeeze(-1) & counted(batch).flatten()[:, None]
        return (sums * counts).sum() / counts.sum().clamp_min(1)

    def _targets(self, batch: FrameBatch) -> Tensor:
        cells, is_inside = own_cells(batch, self._config)
        return joint_maps(cells, is_inside, self._config, TARGET_SIGMA)


def counted(batch: FrameBatch) -> Tensor:
    """Return of whom the network can learn, bool ``[B, P]``."""
    is_known = batch.keypoints[:, :, -1, :, 2] > 0
    return batch.is_person & (is_known.sum(-1) >= MIN_JOINTS)


@torch.no_grad()
def own_cells(batch: FrameBatch, config: AssociationConfig) -> tuple[Tensor, Tensor]:
    """Return the cells of each person's own joints and which count, ``[B * P, 17, 1]``."""
    joints, boxes = batch.keypoints[:, :, -1], batch.boxes[:, :, -1]
    cells, is_inside = joint_cells(joints[..., :2], boxes[:, :, None], config)
    is_inside &= joints[..., 2] > 0
    return cells.flatten(0, 1).unsqueeze(-1), is_inside.flatten(0, 1).unsqueeze(-1)


@torch.no_grad()
def association_inputs(
    batch: FrameBatch, config: AssociationConfig, *, varies: bool = False
) -> Tensor:
    """
    Return the maps of all joints in each person's box, ``[B * P, 17, height, width]``.

    :param varies: Whether joints are to be seen as heatmaps show them, where the config asks for
        it, and not as they are annotated.
    """
    joints, boxes = batch.keypoints[:, :, -1], batch.boxes[:, :, -1]
    places, heights = joints[..., :2], (joints[..., 2] > 0).float()
    if varies and config.confusion:
        sides = boxes[..., None, 2:] - boxes[..., None, :2]
        places, heights = as_peaks(places, heights, sides, config.confusion)
    everybody = places.transpose(1, 2)[:, None]  # [B, 1, 17, P, 2]
    cells, is_inside = joint_cells(everybody, boxes[:, :, None, None], config)
    impulses = is_inside * heights.transpose(1, 2)[:, None]
    return joint_maps(cells.flatten(0, 1), impulses.flatten(0, 1), config, INPUT_SIGMA)


def as_peaks(
    places: Tensor, heights: Tensor, sides: Tensor, confusion: float
) -> tuple[Tensor, Tensor]:
    """
    Return joints as a network sees them that is not sure of left and right.

    Some people are confused more than others; where both peaks are there, the right one is higher
    three times out of four. Some joints are not seen, and none is exactly where it is.

    :param places: ``[B, P, 17, 2]``; heights ``[B, P, 17]``, 0 for what is not annotated.
    :param sides: Of the people's boxes, ``[B, P, 1, 2]``.
    :return: Those of twice as many people: true joints, then joints at their mirror images.
    """
    # Drawn where the state of the generator survives a resume.
    person, joint, own, other, miss = torch.rand(5, *heights.shape).to(heights)
    shift = torch.randn(places.shape).to(places)
    is_confused = joint < 2 * confusion * person[..., :1]
    seen = heights * (miss > MISSED)
    lowest = torch.where(is_confused, OWN_HEIGHTS[0], SURE)
    own = lowest + (OWN_HEIGHTS[1] - lowest) * own
    other = OTHER_HEIGHTS[0] + (OTHER_HEIGHTS[1] - OTHER_HEIGHTS[0]) * other
    noisy = places + JITTER * sides * shift
    flipped = list(FLIPPED)
    mirrored = (heights * (miss > MISSED))[..., flipped] * is_confused * other
    return torch.cat([noisy, noisy[..., flipped, :]], 1), torch.cat([seen * own, mirrored], 1)
