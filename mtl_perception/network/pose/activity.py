"""What a person does, from where the joints lie: a perceptron on one pose or on the last few."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
import torch
from torch import nn, Tensor

NORMALISATIONS = ('box', 'image')
# How far earlier poses may lie outside the newest box, in its sides.
REACH = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityConfig:
    """Settings of :class:`ActivityClassifier`."""

    hidden: tuple[int, int] = (3072, 128)
    dropout: float = 0.3
    normalise: str = 'box'  # coordinates relative to the person's box, or to the 'image'
    history: int = 1  # poses of the person, the newest included
    history_seconds: float = 0.8  # from the oldest of them to the newest

    def __post_init__(self) -> None:
        if min(self.hidden) < 1:
            raise ValueError(f'hidden must be positive, got {self.hidden}.')
        if not 0 <= self.dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {self.dropout}.')
        if self.normalise not in NORMALISATIONS:
            raise ValueError(f'normalise must be one of {NORMALISATIONS}, got {self.normalise!r}.')
        if not 1 <= self.history <= 256:
            raise ValueError(f'history must be from 1 to 256, got {self.history}.')
        if not 0 < self.history_seconds < float('inf'):
            raise ValueError(f'history_seconds must be positive, got {self.history_seconds}.')


class ActivityClassifier(nn.Module):
    """
    Dense layers of 3072 and 128 nodes, each with ReLU, batch norm and dropout, then the logits.

    The source classifies one pose. With ``history`` above 1 the earlier poses of the person come
    first: running and walking differ in motion.
    """

    def __init__(self, config: ActivityConfig, num_labels: int) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        size = 2 * NUM_KEYPOINTS * config.history
        for width in config.hidden:
            layers += [
                nn.Linear(size, width),
                nn.ReLU(inplace=True),
                nn.BatchNorm1d(width),
                nn.Dropout(config.dropout),
            ]
            size = width
        self.layers = nn.Sequential(*layers, nn.Linear(size, num_labels))

    def forward(self, poses: Tensor) -> Tensor:
        """Return logits ``[N, C]`` of poses as :func:`normalised_poses` makes them."""
        logits: Tensor = self.layers(poses)
        return logits


def activity_inputs(
    config: ActivityConfig, keypoints: Tensor, boxes: Tensor, image_size: Tensor
) -> Tensor:
    """
    Return the inputs of the classifier as its config wants them.

    :param keypoints: ``[N, T, 17, 3]``, oldest first.
    :param boxes: The newest of each person, xyxy ``[N, 4]``.
    :param image_size: Height and width, ``[2]``, or of each person's image, ``[N, 2]``.
    :return: ``[N, T * 34]``, float32.
    """
    if config.normalise == 'image':
        height, width = image_size.to(boxes).expand(len(boxes), 2).unbind(1)
        zero = torch.zeros_like(width)
        boxes = torch.stack([zero, zero, width - 1, height - 1], 1)
    return normalised_poses(keypoints, boxes, history=config.history)


def normalised_poses(keypoints: Tensor, frames: Tensor, *, history: int) -> Tensor:
    """
    Return the inputs of the classifier: (x, y) of all joints of all poses, one after the other.

    :param keypoints: ``[N, T, 17, 3]`` as (x, y, score), oldest first; joints of score 0 or of a
        place that is not finite are missing.
    :param frames: What the coordinates are relative to, xyxy ``[N, 4]``: the person's newest box,
        so that the result does not depend on where and how large the person is, or the image.
    :param history: T. A single pose is clipped to [0, 1]; of several, those that go by may lie
        outside the newest box by as much as its sides.
    :return: ``[N, T * 34]``, float32; missing joints are 0.
    """
    points, scores = keypoints[..., :2].float(), keypoints[..., 2]
    low = frames[:, None, None, :2].float()
    sides = (frames[:, None, None, 2:].float() - low).clamp_min(1e-6)
    reach = 0.0 if history == 1 else REACH
    scaled = ((points - low) / sides).clamp(-reach, 1 + reach)
    is_known = (scores > 0) & points.isfinite().all(-1)
    return torch.where(is_known[..., None], scaled, 0.0).flatten(1)
