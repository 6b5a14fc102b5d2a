"""Heads: from the features of a trunk to the outputs of a task."""

from __future__ import annotations

from torch import nn


class ClassificationHead(nn.Linear):
    """A linear layer from features, ``[B, D]``, to logits, ``[B, C]``."""

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        nn.init.normal_(self.weight, 0, 0.01)
        nn.init.zeros_(self.bias)


HEADS: dict[str, type[ClassificationHead]] = {
    'classification': ClassificationHead,
}


def build_head(kind: str, feature_dim: int, num_outputs: int) -> nn.Module:
    """Build the head for a kind of task."""
    if kind not in HEADS:
        raise ValueError(f"Unknown kind of task '{kind}'; known kinds: {sorted(HEADS)}.")
    return HEADS[kind](feature_dim, num_outputs)
