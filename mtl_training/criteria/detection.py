"""Focal loss and smooth L1 on the anchors of an image (Lin et al., 2017, arXiv 1708.02002)."""

from __future__ import annotations

from mtl_perception.network.pose.detection import DetectionOutput, encode_boxes
from mtl_training.criteria.contract import Criterion
from mtl_training.data.frame_sample import FrameBatch
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss
from torchvision.ops import box_iou

POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.4
# A region of a crowd silences anchors that lie in it by more than this share of theirs.
CROWD_SHARE = 0.5
# What a shift and a log scale typically are: the loss sees them in these units.
DELTA_UNITS = (0.1, 0.1, 0.2, 0.2)


class DetectionCriterion(Criterion):
    """
    Focal loss plus smooth L1, both divided by the number of positive anchors of the image.

    An anchor is positive with an IoU of 0.5 or more with a person, or if it is the best one of a
    person, negative below 0.4; those between and those in a crowd count neither way. That the best
    anchor of a person always counts is torchvision's rule, not the paper's.

    :param alpha: Weight of positive anchors; negative ones have ``1 - alpha``.
    :param gamma: How much less easy anchors count.
    :param beta: Where smooth L1 turns from quadratic to linear.
    """

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0, beta: float = 1 / 9) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f'alpha must lie between 0 and 1, got {alpha}.')
        if not gamma >= 0:
            raise ValueError(f'gamma must not be negative, got {gamma}.')
        if not beta > 0:
            raise ValueError(f'beta must be positive, got {beta}.')
        self._alpha, self._gamma, self._beta = alpha, gamma, beta
        self._matched: tuple[FrameBatch | None, tuple[Tensor, Tensor, Tensor] | None] = None, None

    def forward(self, outputs: DetectionOutput, batch: FrameBatch) -> Tensor:
        """Return the loss of every image, ``[1, B]``."""
        boxes = batch.boxes[:, :, -1]
        person, positive, negative = self._match(outputs, batch)
        logits = outputs.logits.float()
        focal = focal_loss(logits, positive.float(), alpha=self._alpha, gamma=self._gamma)
        focal = (focal * (positive | negative)).sum(1)
        # Only the positive anchors: there are few of them.
        image, anchor = positive.nonzero(as_tuple=True)
        wanted = encode_boxes(boxes[image, person[image, anchor]], outputs.anchors[anchor])
        units = torch.tensor(DELTA_UNITS, device=logits.device)
        distances = smooth_l1_loss(
            outputs.deltas[image, anchor].float() / units,
            wanted / units,
            beta=self._beta,
            reduction='none',
        ).sum(1)
        regression = torch.zeros_like(focal).index_add(0, image, distances)
        return ((focal + regression) / positive.sum(1).clamp_min(1)).unsqueeze(0)

    figure = 'recall'

    @torch.no_grad()
    def fit(self, outputs: DetectionOutput, batch: FrameBatch) -> Tensor:
        """Return the share of people with an anchor of a score above one half."""
        person, positive, _ = self._match(outputs, batch)
        image, anchor = (positive & (outputs.logits > 0)).nonzero(as_tuple=True)
        found = torch.zeros_like(batch.is_person)
        found[image, person[image, anchor]] = True
        return (found * batch.is_person).sum() / batch.is_person.sum().clamp_min(1)

    def _match(self, outputs: DetectionOutput, batch: FrameBatch) -> tuple[Tensor, Tensor, Tensor]:
        # The figure of a batch is asked for right after its loss.
        known, matched = self._matched
        if matched is None or known is not batch:
            matched = match_anchors(
                outputs.anchors, batch.boxes[:, :, -1], batch.is_person, batch.is_crowd
            )
            self._matched = batch, matched
        return matched


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return ``-alpha_t (1 - p_t)^gamma log p_t`` of every logit (equation 5)."""
    cross_entropy = binary_cross_entropy_with_logits(logits, targets, reduction='none')
    probabilities = logits.sigmoid()
    wrong = torch.where(targets > 0.5, 1 - probabilities, probabilities)
    weights = torch.where(targets > 0.5, alpha, 1 - alpha)
    return weights * wrong**gamma * cross_entropy


@torch.no_grad()
def match_anchors(
    anchors: Tensor, boxes: Tensor, is_person: Tensor, is_crowd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Decide what each anchor is to say.

    :param anchors: ``[A, 4]``, xyxy.
    :param boxes: ``[B, P, 4]``; ``is_person`` and ``is_crowd`` ``[B, P]``.
    :return: The person that each anchor is nearest to, ``[B, A]``, and whether it is positive and
        negative, bool ``[B, A]`` each.
    """
    if boxes.shape[1] == 0:
        nobody = torch.zeros(len(boxes), len(anchors), dtype=torch.int64, device=boxes.device)
        return nobody, nobody.bool(), ~nobody.bool()
    overlaps = box_iou(boxes.flatten(0, 1), anchors).view(*boxes.shape[:2], -1)
    of_people = overlaps.masked_fill(~is_person[..., None], -1.0)
    best, person = of_people.max(1)
    positive = best >= POSITIVE_IOU
    # The best anchor of a person is theirs, however small the overlap.
    top = of_people.amax(2, keepdim=True)
    is_best = (of_people == top) & (top > 0)
    claimed = is_best.any(1)
    person = torch.where(claimed, is_best.to(torch.uint8).argmax(1), person)
    positive |= claimed
    inside = _shares_inside(anchors, boxes) * is_crowd[..., None]
    in_crowd = inside.amax(1) > CROWD_SHARE
    return person, positive, ~positive & (best < NEGATIVE_IOU) & ~in_crowd


def _shares_inside(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return which share of each anchor lies in each box, ``[B, P, A]``."""
    low = torch.maximum(anchors[:, :2], boxes[..., None, :2])
    high = torch.minimum(anchors[:, 2:], boxes[..., None, 2:])
    common = (high - low).clamp_min(0).prod(-1)
    return common / (anchors[:, 2:] - anchors[:, :2]).prod(-1).clamp_min(1e-6)
