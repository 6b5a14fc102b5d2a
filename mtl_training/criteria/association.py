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
from mtl_training.criteria.contract import Criterion, mean_of_people
from mtl_training.data.frame_sample import FrameBatch
import torch
from torch import Tensor

MIN_JOINTS = 4  # people with fewer annotated joints teach nothing


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
def association_inputs(batch: FrameBatch, config: AssociationConfig) -> Tensor:
    """Return the maps of all joints in each person's box, ``[B * P, 17, height, width]``."""
    joints, boxes = batch.keypoints[:, :, -1], batch.boxes[:, :, -1]
    everybody = joints[..., :2].transpose(1, 2)[:, None]  # [B, 1, 17, P, 2]
    cells, is_inside = joint_cells(everybody, boxes[:, :, None, None], config)
    is_inside &= (joints[..., 2] > 0).transpose(1, 2)[:, None]
    return joint_maps(cells.flatten(0, 1), is_inside.flatten(0, 1), config, INPUT_SIGMA)
