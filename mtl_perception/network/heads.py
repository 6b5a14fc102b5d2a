"""Heads: from the features of a trunk to the outputs of a task."""

from __future__ import annotations

from typing import Any

from mtl_perception.network.captions import CaptionConfig, EmbeddingHead
from mtl_perception.network.config import from_mapping, TaskConfig
from mtl_perception.network.pose.activity import ActivityClassifier, ActivityConfig
from mtl_perception.network.pose.association import AssociationConfig, PoseResidualNetwork
from mtl_perception.network.pose.detection import DetectionBranch, DetectionConfig
from mtl_perception.network.pose.keypoints import KeypointBranch, KeypointConfig
from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GRAPH_KINDS,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
from mtl_perception.network.temporal_graph.heads import GraphHead
import torch
from torch import nn, Tensor


class ClassificationHead(nn.Linear):
    """A linear layer from features, ``[B, D]``, to logits, ``[B, C]``."""

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        nn.init.normal_(self.weight, 0, 0.01)
        nn.init.zeros_(self.bias)


class RelevanceHead(nn.Module):
    """
    Whether a clip belongs to a task's data set at all, and how far its class scores are to trust.

    Its numbers are fitted to a trained network (:mod:`mtl_training.relevance`) and so are buffers:
    no optimiser touches them. Unfitted, it takes every clip for relevant.
    """

    weight: Tensor  # [D]
    bias: Tensor  # []
    temperature: Tensor  # [], positive

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer('weight', torch.zeros(feature_dim))
        self.register_buffer('bias', torch.tensor(20.0))
        self.register_buffer('temperature', torch.tensor(1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit of the relevance of each clip, ``[B]``, from ``[B, D]``; float32."""
        return features.float() @ self.weight.float() + self.bias.float()

    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """
        Return the probability of each label, and last that of none of them.

        :param features: ``[B, D]``.
        :param logits: Of the labels, ``[B, C]``; divided by the temperature (Guo et al., On
            Calibration of Modern Neural Networks, 2017).
        :return: ``[B, C + 1]``, float32; each row sums to 1.
        """
        relevance = self(features).sigmoid().unsqueeze(1)
        labels = (logits.float() / self.temperature.float()).softmax(1)
        return torch.cat([relevance * labels, 1 - relevance], dim=1)


# What a task's `settings` may say, by its kind.
SETTINGS: dict[str, type[Any]] = {
    'caption': CaptionConfig,
    'detection': DetectionConfig,
    'keypoints': KeypointConfig,
    'association': AssociationConfig,
    'activity': ActivityConfig,
    'recognition': RecognitionConfig,
    'anticipation': AnticipationConfig,
    'state_change': StateChangeConfig,
    'point_of_no_return': PointOfNoReturnConfig,
}


def settings_of(name: str, task: TaskConfig) -> Any:
    """
    Return the settings of a task's head, checked; tasks of kind classification have none.

    :raises ValueError: Naming the entry, the rule and what was found.
    """
    return from_mapping(SETTINGS[task.kind], task.settings, f'tasks.{name}.settings')


def build_head(name: str, task: TaskConfig, trunk: Any) -> nn.Module:
    """
    Build the head of a task.

    :param trunk: What feeds it: a sharing method with its ``feature_dim``, or a frame trunk with
        its ``channels``.
    """
    if task.kind == 'classification':
        return ClassificationHead(trunk.feature_dim, len(task.labels))
    settings = settings_of(name, task)
    if task.kind in GRAPH_KINDS:
        return GraphHead(task.kind, trunk.feature_dim, settings, task.groups)
    if task.kind == 'caption':
        return EmbeddingHead(trunk.feature_dim, settings.dim)
    if task.kind == 'detection':
        return DetectionBranch(trunk.channels, settings)
    if task.kind == 'keypoints':
        return KeypointBranch(trunk.channels, settings)
    if task.kind == 'association':
        return PoseResidualNetwork(settings)
    return ActivityClassifier(settings, len(task.labels))
