"""Poses as the network finds them, for those who learn from poses: the activity classifier."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

from mtl_perception.checkpoint import write_atomically
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.skeleton import FLIPPED
from mtl_training.data.frame_sample import FrameDataset, FrameSample
from mtl_training.data.loading import evaluation_batches
from mtl_training.frame_evaluation import matched_poses
from mtl_training.inputs import TaskInputs
from safetensors import safe_open
from safetensors.torch import save
import torch
from torch import Tensor


class FoundPoses(NamedTuple):
    """What was found of the people of one sample."""

    keypoints: Tensor  # [P, T, 17, 3]: x, y, score
    boxes: Tensor  # [P, 4], the newest
    is_found: Tensor  # bool [P], in the newest frame


class PredictedPoses:
    """
    A data set of annotated frames whose people have the poses that a network found of them.

    Who was not found is left out.

    :param dataset: With the truth, in the same order and not augmented.
    :param poses: What was found, per sample.
    :param augment: Mirror samples at random, and forget the older poses of some as if they had
        just come into view.
    """

    FLIP, YOUNG = 0.5, 0.15  # how often

    def __init__(
        self, dataset: FrameDataset, poses: list[FoundPoses], *, augment: bool = True
    ) -> None:
        if len(poses) != len(dataset):
            raise ValueError(f'poses must be of {len(dataset)} samples, got {len(poses)}.')
        self._dataset, self._poses, self._augment = dataset, poses, augment
        self.task, self.labels = dataset.task, dataset.labels

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> FrameSample:
        """Return one sample."""
        sample, found = self._dataset[index], self._poses[index]
        chosen = found.is_found
        keypoints = found.keypoints[chosen].clone()
        boxes = sample.boxes[chosen].clone()
        boxes[:, -1] = found.boxes[chosen]
        if self._augment and torch.rand(()) < self.FLIP:
            keypoints, boxes = _mirrored(keypoints, boxes, sample.images.shape[2])
        if self._augment and keypoints.shape[1] > 1 and torch.rand(()) < self.YOUNG:
            keypoints[:, : int(torch.randint(1, keypoints.shape[1], ()))] = 0
        return sample._replace(
            boxes=boxes,
            keypoints=keypoints,
            areas=sample.areas[chosen],
            activities=sample.activities[chosen],
            is_crowd=sample.is_crowd[chosen],
        )


def _mirrored(keypoints: Tensor, boxes: Tensor, width: int) -> tuple[Tensor, Tensor]:
    keypoints = keypoints[:, :, list(FLIPPED)].clone()
    keypoints[..., 0] = width - 1 - keypoints[..., 0]
    boxes = boxes.clone()
    boxes[..., [0, 2]] = width - 1 - boxes[..., [2, 0]]
    return keypoints, boxes


@torch.no_grad()
def find_all_poses(
    network: MultiTaskNetwork,
    dataset: FrameDataset,
    inputs: TaskInputs,
    *,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[FoundPoses]:
    """
    Find the people of all samples, and in each of their frames.

    :param network: Deployed.
    :param dataset: With the pixels of all frames of each sample.
    """
    task = network.config.task_of_kind('detection')
    if task is None:
        raise ValueError('predicted poses need a task of kind detection, the network has none.')
    poses: list[FoundPoses] = []
    for batch in evaluation_batches(dataset, batch_size, workers=workers):
        batch = batch.to(device)
        num_frames = batch.images.shape[1]  # type: ignore[union-attr]
        frames = inputs.frames(task, batch.images.flatten(0, 1))  # type: ignore[union-attr]
        with autocast():
            people = network.people(frames)
        keypoints, boxes, is_found = matched_poses(people, batch, num_frames)  # type: ignore[arg-type]
        keypoints = keypoints.nan_to_num(0.0).cpu()
        people_of = (batch.is_person | batch.is_crowd).sum(1).tolist()  # type: ignore[union-attr]
        for i, count in enumerate(people_of):
            found = is_found[i, :count, -1].cpu()
            poses.append(FoundPoses(keypoints[i, :count], boxes[i, :count].cpu(), found))
        on_batch(len(people_of))
    return poses


def save_poses(path: Path, poses: list[FoundPoses], stage: int) -> None:
    """Write the poses that a stage of a run learns from; a resumed run reads them again."""
    tensors = {name: torch.cat([getattr(p, name) for p in poses]) for name in FoundPoses._fields}
    tensors['counts'] = torch.tensor([len(found.boxes) for found in poses])
    write_atomically(path, save(tensors, {'stage': str(stage)}))


def load_poses(path: Path, stage: int) -> list[FoundPoses] | None:
    """Return the poses that :func:`save_poses` wrote for a stage; None where there are none."""
    if not path.exists():
        return None
    with safe_open(path, framework='pt') as file:
        if file.metadata() != {'stage': str(stage)}:
            return None
        counts = file.get_tensor('counts').tolist()
        parts = [file.get_tensor(name).clone().split(counts) for name in FoundPoses._fields]
    return [FoundPoses(*values) for values in zip(*parts)]
