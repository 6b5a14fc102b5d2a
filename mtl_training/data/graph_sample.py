"""What every data set of windows of features yields, and how samples become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

UNKNOWN = -1  # a label that nobody gave, such as those of the future after the last action


class GraphSample(NamedTuple):
    """
    One window of a video as nodes in time, each with the features of some moments.

    The target is of the kind of task: ``[G]`` labels, one of each group, of the centre node
    (recognition); ``[F, G]`` of the future nodes, :data:`UNKNOWN` where there is none
    (anticipation); ``[]`` 0 or 1 (state_change); ``[]`` the node nearest to the point of no return
    (point_of_no_return).
    """

    features: Tensor  # float32 [N, S, D]: nodes, features of a node, their dimension
    target: Tensor  # int64
    # float32 [2]: length of the window and point of no return from its start, both in seconds;
    # zeros of other kinds
    seconds: Tensor
    index: int  # type: ignore[assignment]  # stable within its data set


class GraphBatch(NamedTuple):
    """Windows of one task."""

    features: Tensor  # float32 [B, N, S, D]
    targets: Tensor  # int64 [B, ...]
    seconds: Tensor  # float32 [B, 2]
    indices: Tensor  # int64 [B]

    def to(self, device: torch.device) -> GraphBatch:
        """Return the batch on a device."""
        return GraphBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class GraphDataset(Protocol):
    """
    The contract of every data set of windows.

    Those of recognition also have ``concepts``, the combinations of labels that occur, and
    ``concept_of(index)``, the place of a window's own among them.
    """

    task: str
    labels: tuple[str, ...]  # those that the kind fixes
    groups: dict[str, tuple[str, ...]]  # of recognition and anticipation, such as verb and noun

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> GraphSample: ...


def collate_graphs(samples: Sequence[GraphSample]) -> GraphBatch:
    """Stack samples into a batch."""
    return GraphBatch(
        features=torch.stack([sample.features for sample in samples]),
        targets=torch.stack([sample.target for sample in samples]),
        seconds=torch.stack([sample.seconds for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples]),
    )
