"""What every data set of annotated frames yields, and how samples become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

MASK_STRIDE = 4  # pixels of an image per cell of its mask, along each side
UNKNOWN = -1  # the activity of somebody of whom nobody said what they do


class FrameSample(NamedTuple):
    """
    One annotated image, and what led to it.

    T is the number of frames of which the truth is known, oldest first; a photo has one. The
    images may be fewer: F is 0 where a task reads only the truth, 1 (the newest) or T. All
    coordinates are pixels of ``images``, (0, 0) being the centre of the first pixel.
    """

    images: Tensor  # uint8 [F, h, w, 3], RGB, of the size of the trunk's input
    boxes: Tensor  # float32 [P, T, 4], xyxy; zeros for somebody who is not in the frame
    keypoints: Tensor  # float32 [P, T, 17, 3]: x, y, visibility 0 (unknown or outside), 1 or 2
    areas: Tensor  # float32 [P, T], of the segment as COCO has it, square pixels
    activities: Tensor  # int64 [P], in the newest frame; UNKNOWN where nobody said
    is_crowd: Tensor  # bool [P]; regions that count neither for nor against a detection
    mask: Tensor  # bool [h / 4, w / 4] of the newest frame; False where joints have no annotation
    transform: Tensor  # float32 [2, 3], from pixels of the original image to those of `images`
    size: tuple[int, int]  # height and width of the original image
    image_id: int  # of the original image
    index: int  # type: ignore[assignment]  # stable within its data set


class FrameBatch(NamedTuple):
    """Annotated images of one task; the people are padded to the largest number in the batch."""

    images: Tensor  # uint8 [B, F, h, w, 3]
    boxes: Tensor  # float32 [B, P, T, 4]
    keypoints: Tensor  # float32 [B, P, T, 17, 3]
    areas: Tensor  # float32 [B, P, T]
    activities: Tensor  # int64 [B, P]
    is_crowd: Tensor  # bool [B, P]
    is_person: Tensor  # bool [B, P]; False for padding and for crowds
    masks: Tensor  # bool [B, h / 4, w / 4]
    transforms: Tensor  # float32 [B, 2, 3]
    sizes: Tensor  # int64 [B, 2]
    image_ids: Tensor  # int64 [B]
    indices: Tensor  # int64 [B]

    def to(self, device: torch.device) -> FrameBatch:
        """Return the batch on a device."""
        return FrameBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class FrameDataset(Protocol):
    """The contract of every data set of annotated frames."""

    task: str
    labels: tuple[str, ...]  # of the task: activities, joints, or ('person',)

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> FrameSample: ...


def collate_frames(samples: Sequence[FrameSample]) -> FrameBatch:
    """Stack samples into a batch."""
    most = max(len(sample.boxes) for sample in samples)
    is_person = torch.stack([_padded(~sample.is_crowd, most) for sample in samples])
    return FrameBatch(
        images=torch.stack([sample.images for sample in samples]),
        boxes=torch.stack([_padded(sample.boxes, most) for sample in samples]),
        keypoints=torch.stack([_padded(sample.keypoints, most) for sample in samples]),
        areas=torch.stack([_padded(sample.areas, most) for sample in samples]),
        activities=torch.stack([_padded(s.activities, most, UNKNOWN) for s in samples]),
        is_crowd=torch.stack([_padded(sample.is_crowd, most) for sample in samples]),
        is_person=is_person,
        masks=torch.stack([sample.mask for sample in samples]),
        transforms=torch.stack([sample.transform for sample in samples]),
        sizes=torch.tensor([sample.size for sample in samples]),
        image_ids=torch.tensor([sample.image_id for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples]),
    )


def _padded(values: Tensor, count: int, value: int = 0) -> Tensor:
    return pad(values, [0, 0] * (values.ndim - 1) + [0, count - len(values)], value=value)
