"""How well the people in annotated frames are found: boxes, poses and activities, end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.decoding import People
from mtl_perception.network.pose.detection import DetectionOutput
from mtl_perception.network.pose.keypoints import KeypointOutput
from mtl_training.criteria import Criterion
from mtl_training.data.frame_sample import FrameBatch
from mtl_training.inputs import TaskInputs
from mtl_training.pose_metrics import (
    ActivityReport,
    FoundPeople,
    match_people,
    PoseEvaluation,
    TruePeople,
)
from mtl_training.test_time_augmentation import NO_AUGMENTATION, TestTimeAugmentation
import torch
from torch import nn, Tensor

# As the robot's parameter of this name has it: nothing is said of people whose boxes score less.
MIN_PERSON_SCORE = 0.5

Figures = dict[str, float | None]


class FrameEvaluation:
    """
    What came out of running the frame tasks over annotated images.

    Activities are judged end to end: people are found in every frame, those of a frame are matched
    to the true people by an IoU of one half or more, and the poses of one true person over the
    frames are what the classifier sees. Somebody who is not found counts as not recognised, as
    does who is found with less than the score from which on the robot speaks of people.

    :param config: Of the network.
    :param tasks: The tasks that are evaluated.
    """

    def __init__(self, config: NetworkConfig, tasks: Sequence[str]) -> None:
        self._kinds = {config.tasks[task].kind: task for task in tasks}
        kinds = {task.kind for task in config.tasks.values()}
        self._finds_joints = kinds >= {'detection', 'keypoints', 'association'}
        self.poses = PoseEvaluation()
        self.poses_in_true_boxes = PoseEvaluation()
        activity = self._kinds.get('activity')
        labels = config.tasks[activity].labels if activity else ()
        self.activities = ActivityReport(labels)
        self.num_known = 0  # people whose activity is known
        self.num_images = 0
        self._totals: dict[str, Tensor] = {}  # per task: sum of losses, of figures, number

    @property
    def tasks(self) -> list[str]:
        """Return the tasks that are evaluated."""
        return [*self._kinds.values()]

    def add_losses(self, task: str, losses: Tensor, fit: Tensor) -> None:
        """Add the losses of images, ``[B]``, and a figure of how well they are fitted."""
        row = torch.stack([losses.sum().cpu(), fit.cpu() * len(losses), torch.tensor(len(losses))])
        self._totals[task] = self._totals.get(task, torch.zeros(3, dtype=torch.float64)) + row

    def merge(self, other: FrameEvaluation) -> None:
        """Add the images that another process evaluated."""
        self.poses.merge(other.poses)
        self.poses_in_true_boxes.merge(other.poses_in_true_boxes)
        self.activities.confusion.counts += other.activities.confusion.counts
        self.num_known += other.num_known
        self.num_images += other.num_images
        for task, row in other._totals.items():
            self._totals[task] = self._totals.get(task, torch.zeros_like(row)) + row

    def losses(self) -> dict[str, float]:
        """Return the mean loss per task."""
        return {task: float(row[0] / row[2].clamp_min(1)) for task, row in self._totals.items()}

    def figures(self) -> dict[str, Figures]:
        """
        Return the figures of every task.

        :return: COCO's AP and AR of the boxes; of the poses; of the poses where the true boxes are
            given; accuracy and macro precision, recall and F1 of the activities of people who were
            found, the share of people found, and the accuracy over all people. What the network
            has no tasks for is left out. ``score`` is what stands for the task in a choice between
            networks: the AP, the accuracy over all people or, without them, how well it fits.
        """
        fits = {task: float(row[1] / row[2].clamp_min(1)) for task, row in self._totals.items()}
        found = {
            'detection': self.poses.boxes if len(self.poses) else None,
            'keypoints': (
                self.poses.keypoints if len(self.poses) and self._finds_joints else None
            ),
            'association': (
                self.poses_in_true_boxes.keypoints if len(self.poses_in_true_boxes) else None
            ),
            'activity': self._activity_figures if self.num_known else None,
        }
        figures: dict[str, Figures] = {}
        for kind, task in self._kinds.items():
            compute = found[kind]
            own: Figures = dict(compute()) if compute else {}
            key = 'accuracy_of_all' if kind == 'activity' else 'ap'
            score = own.get(key)
            figures[task] = {**own, 'score': fits.get(task) if score is None else score}
        return figures

    def _activity_figures(self) -> Figures:
        confusion = self.activities.confusion
        return {
            **self.activities.summary(),
            'found': confusion.num_samples / max(1, self.num_known),
            'accuracy_of_all': confusion.num_correct / max(1, self.num_known),
        }


@dataclass(frozen=True, slots=True)
class FrameEvaluator:
    """
    Runs a network over batches of annotated frames.

    :param network: In evaluation mode, usually deployed.
    :param criteria: Of the tasks; without one, the loss of a task is not computed.
    :param augmentation: Scales and mirror images to average over.
    :param min_person_score: Of the newest box of people whose activities are judged.
    """

    network: MultiTaskNetwork
    inputs: TaskInputs
    criteria: nn.ModuleDict | None = None
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    augmentation: TestTimeAugmentation = NO_AUGMENTATION
    min_person_score: float = MIN_PERSON_SCORE

    @torch.no_grad()
    def run(
        self,
        batches: Iterable[FrameBatch],
        tasks: Sequence[str],
        *,
        device: torch.device,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> FrameEvaluation:
        """
        Evaluate tasks that see the same images.

        :param batches: Each image carries as many frames as the activity task looks back.
        """
        result = FrameEvaluation(self.network.config, tasks)
        for batch in batches:
            batch = batch.to(device)
            self._add(result, batch)
            result.num_images += len(batch.indices)
            on_batch(len(batch.indices))
        return result

    def _add(self, result: FrameEvaluation, batch: FrameBatch) -> None:
        config = self.network.config
        num_frames = batch.images.shape[1]
        needed = [t for t in result.tasks if config.tasks[t].kind in ('detection', 'keypoints')]
        trunk_task = config.task_of_kind('detection') or config.task_of_kind('keypoints')
        outputs: dict[str, Any] = {}
        if trunk_task is not None and num_frames:
            frames = self.inputs.frames(trunk_task, batch.images.flatten(0, 1))
            trunk = config.tasks[trunk_task].trunk
            with self.autocast():
                outputs, people = self.augmentation.run(self.network, trunk, frames)
            # Without autocast, which would round coordinates to the eight bits of bfloat16.
            self._add_poses(result, batch, outputs, people, num_frames)
        for task in result.tasks:
            if self.criteria is not None and task in self.criteria:
                criterion = self.criteria[task]
                assert isinstance(criterion, Criterion)
                own = newest(outputs[task], num_frames) if task in needed else self._head(
                    task, batch
                )  # fmt: skip
                losses = criterion(own, batch).mean(0)
                result.add_losses(task, losses.double(), criterion.fit(own, batch).double())

    def _head(self, task: str, batch: FrameBatch) -> Any:
        with self.autocast():
            return self.network.forward_tasks(self.inputs({task: batch}))[task]

    def _add_poses(
        self,
        result: FrameEvaluation,
        batch: FrameBatch,
        outputs: dict[str, Any],
        people: People | None,
        num_frames: int,
    ) -> None:
        truth = true_people(batch)
        config = self.network.config
        if config.task_of_kind('keypoints') and config.task_of_kind('association'):
            is_there = batch.is_person
            last = {task: newest(output, num_frames) for task, output in outputs.items()}
            with self.autocast():
                in_true = self.network.poses_in(batch.boxes[:, :, -1], is_there.float(), last)
            for i, found in enumerate(found_people(in_true, batch.transforms)):
                result.poses_in_true_boxes.update(int(batch.image_ids[i]), found, truth[i])
        if people is None:
            return
        last_people = People(*(values[num_frames - 1 :: num_frames] for values in people))
        for i, found in enumerate(found_people(last_people, batch.transforms)):
            result.poses.update(int(batch.image_ids[i]), found, truth[i])
        if 'activity' in result._kinds and num_frames == batch.boxes.shape[2]:
            self._add_activities(result, batch, people, num_frames)

    def _add_activities(
        self, result: FrameEvaluation, batch: FrameBatch, people: People, num_frames: int
    ) -> None:
        poses, boxes, is_found = matched_poses(
            people, batch, num_frames, min_score=self.min_person_score
        )
        is_known = batch.is_person & (batch.activities >= 0)
        chosen = is_known & is_found[:, :, -1]
        result.num_known += int(is_known.sum())
        if not chosen.any():
            return
        sizes = torch.tensor(batch.images.shape[2:4], device=boxes.device)
        with self.autocast():
            scores = self.network.activities(poses[chosen], boxes[chosen], sizes)
        result.activities.update(scores.argmax(1).cpu(), batch.activities[chosen].cpu())


def newest(output: Any, num_frames: int) -> Any:
    """Return what an output says of the newest of each sample's frames."""
    last = slice(num_frames - 1, None, num_frames)
    if isinstance(output, DetectionOutput):
        return output._replace(logits=output.logits[last], deltas=output.deltas[last])
    assert isinstance(output, KeypointOutput)
    return KeypointOutput(output.heatmaps[last], tuple(m[last] for m in output.intermediate))


def matched_poses(
    people: People, batch: FrameBatch, num_frames: int, *, min_score: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Return the poses that were found of each true person, frame by frame.

    :param people: In the frames of all samples, sample by sample, oldest first.
    :param min_score: Of boxes in the newest frames. In older ones any box continues a track.
    :return: ``[B, P, T, 17, 3]`` with NaN and score 0 where the person was not found; the newest
        boxes, ``[B, P, 4]``; and whether the person was found in a frame, bool ``[B, P, T]``.
    """
    count, num_people = batch.boxes.shape[:2]
    shape = (count, num_people, num_frames)
    poses = people.keypoints.new_full((*shape, *people.keypoints.shape[2:]), torch.nan).float()
    poses[..., 2] = 0
    boxes = batch.boxes[:, :, -1].clone()
    is_found = torch.zeros(shape, dtype=torch.bool, device=boxes.device)
    for image in range(count):
        for frame in range(num_frames):
            row = image * num_frames + frame
            seen = people.is_found[row]
            if frame == num_frames - 1:
                seen = seen & (people.box_scores[row] >= min_score)
            found, true = match_people(
                people.boxes[row][seen], batch.boxes[image, :, frame], ~batch.is_person[image]
            )
            poses[image, true, frame] = people.keypoints[row][seen][found].float()
            is_found[image, true, frame] = True
            if frame == num_frames - 1:
                boxes[image, true] = people.boxes[row][seen][found].float()
    return poses, boxes, is_found


def found_people(people: People, transforms: Tensor) -> list[FoundPeople]:
    """Return who was found in each image, in pixels of the original images, on the CPU."""
    boxes = to_original(people.boxes.float().unflatten(-1, (2, 2)), transforms).flatten(-2)
    points = to_original(people.keypoints[..., :2].float(), transforms)
    keypoints = torch.cat([points, people.keypoints[..., 2:].float()], -1).cpu()
    boxes, seen = boxes.cpu(), people.is_found.cpu()
    box_scores, pose_scores = people.box_scores.float().cpu(), people.pose_scores.float().cpu()
    return [
        FoundPeople(boxes[i][s], box_scores[i][s], keypoints[i][s], pose_scores[i][s])
        for i, s in enumerate(seen)
    ]


def true_people(batch: FrameBatch) -> list[TruePeople]:
    """Return who is in each newest image, in pixels of the original images, on the CPU."""
    transforms = batch.transforms
    boxes = to_original(batch.boxes[:, :, -1].unflatten(-1, (2, 2)), transforms).flatten(-2).cpu()
    joints = batch.keypoints[:, :, -1]
    points = to_original(joints[..., :2], transforms)
    keypoints = torch.cat([points, joints[..., 2:]], -1).cpu()
    areas = (batch.areas[:, :, -1] / torch.linalg.det(transforms[:, :, :2])[:, None].abs()).cpu()
    crowds, activities = batch.is_crowd.cpu(), batch.activities.cpu()
    return [
        TruePeople(boxes[i][s], keypoints[i][s], areas[i][s], crowds[i][s], activities[i][s])
        for i, s in enumerate((batch.is_person | batch.is_crowd).cpu())
    ]


def to_original(points: Tensor, transforms: Tensor) -> Tensor:
    """
    Map points from the network's input back to the original images.

    :param points: ``[B, ..., 2]``.
    :param transforms: ``[B, 2, 3]``.
    """
    back = torch.linalg.inv(transforms[:, :, :2])
    flat = points.flatten(1, -2) - transforms[:, None, :, 2]
    return (flat @ back.transpose(1, 2)).view_as(points)
