"""Heads: from the features of a trunk to the outputs of a task."""

from __future__ import annotations

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


HEADS: dict[str, type[ClassificationHead]] = {
    'classification': ClassificationHead,
}


def build_head(kind: str, feature_dim: int, num_outputs: int) -> nn.Module:
    """Build the head for a kind of task."""
    if kind not in HEADS:
        raise ValueError(f"Unknown kind of task '{kind}'; known kinds: {sorted(HEADS)}.")
    return HEADS[kind](feature_dim, num_outputs)
