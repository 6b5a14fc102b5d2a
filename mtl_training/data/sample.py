"""What every data set of clips yields, and how samples of any kind become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from mtl_training.data.frame_sample import collate_frames, FrameBatch, FrameDataset, FrameSample
from mtl_training.data.graph_sample import collate_graphs, GraphBatch, GraphDataset, GraphSample
import torch
from torch import Tensor
from torch.utils.data import default_collate


class ClipSample(NamedTuple):
    """One labelled clip."""

    frames: Tensor  # uint8 [T, H, W, 3], RGB
    label: int
    index: int  # type: ignore[assignment]  # stable within its data set: per-sample weightings and recordings are keyed on it


class ClipBatch(NamedTuple):
    """Clips of one task."""

    frames: Tensor  # uint8 [B, T, H, W, 3], RGB
    labels: Tensor  # int64 [B]
    indices: Tensor  # int64 [B]

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on a device."""
        return ClipBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class ClipDataset(Protocol):
    """The contract of every clip data set; it may have what :func:`describe` asks for."""

    task: str
    labels: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ClipSample: ...


def describe(dataset: ClipDataset, index: int) -> str:
    """Return where a clip came from, or nothing where ``dataset.describe(index)`` is missing."""
    method = getattr(dataset, 'describe', None)
    return '' if method is None else str(method(index))


def varies(dataset: Any) -> bool:
    """
    Tell whether the samples of a data set are others whenever they are asked for.

    Without an attribute ``varies`` that says so, they may be.
    """
    return bool(getattr(dataset, 'varies', True))


# Of any kind of task.
Sample = ClipSample | FrameSample | GraphSample
Batch = ClipBatch | FrameBatch | GraphBatch
AnyDataset = ClipDataset | FrameDataset | GraphDataset


def collate(samples: Sequence[Any]) -> Batch:
    """Stack samples of one kind into a batch."""
    if isinstance(samples[0], FrameSample):
        return collate_frames(samples)
    if isinstance(samples[0], GraphSample):
        return collate_graphs(samples)
    return collate_clips(samples)


def collate_clips(samples: Sequence[ClipSample]) -> ClipBatch:
    """Stack samples into a batch."""
    return ClipBatch(
        # In a worker, stacks them where the main process sees them: no second copy.
        frames=default_collate([sample.frames for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples]),
    )
