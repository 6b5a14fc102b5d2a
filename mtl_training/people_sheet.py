"""A sheet of evaluated frames with the people that a network finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.pose.decoding import People
from mtl_perception.network.pose.skeleton import LIMBS
from mtl_training.data.frame_sample import FrameBatch, FrameDataset
from mtl_training.data.multitask import FixedDataset
from mtl_training.data.sample import collate
from mtl_training.frame_evaluation import matched_poses
from mtl_training.inputs import TaskInputs
from mtl_training.test_time_augmentation import NO_AUGMENTATION, TestTimeAugmentation
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

NUM_FRAMES, COLUMNS = 16, 4
MIN_SCORE = 0.5  # of a box that is drawn
WIDTH = 480  # pixels of a frame on the sheet
# BGR, of one person after the other.
COLOURS = ((60, 220, 60), (255, 160, 40), (60, 170, 255), (230, 90, 230), (80, 230, 230))
WRONG = (60, 60, 255)

Image = NDArray[np.uint8]


@torch.no_grad()
def draw_people(
    network: MultiTaskNetwork,
    dataset: FrameDataset,
    path: Path,
    *,
    device: torch.device,
    augmentation: TestTimeAugmentation = NO_AUGMENTATION,
) -> None:
    """
    Draw some frames of a data set with boxes, skeletons and, where they are known, activities.

    An activity that is not the true one is red, with the true one in brackets.

    :param network: Deployed and on the device; it must have a task of detection.
    :param dataset: With pixels; the frames are spread evenly over it.
    """
    task = network.config.task_of_kind('detection')
    if task is None:
        raise ValueError('a sheet of people needs a task of kind detection, there is none.')
    inputs = TaskInputs(network.config, dtype=next(network.parameters()).dtype).to(device)
    fixed = FixedDataset(dataset)
    count = min(NUM_FRAMES, len(dataset))
    tiles = []
    for index in (i * len(dataset) // count for i in range(count)):
        batch = collate([fixed[index]]).to(device)
        assert isinstance(batch, FrameBatch)
        frames = inputs.frames(task, batch.images.flatten(0, 1))
        _, people = augmentation.run(network, network.config.tasks[task].trunk, frames)
        assert people is not None
        said = _activities(network, batch, people)
        newest = People(*(values[-1].float().cpu() for values in people))
        tiles.append(_drawn(batch.images[0, -1].cpu().numpy(), newest, said))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), _sheet(tiles)):
        raise OSError(f"'{path}' can't be written as an image.")


def _activities(
    network: MultiTaskNetwork, batch: FrameBatch, people: People
) -> dict[int, tuple[str, bool]]:
    """Return what the found people of known activity are said to do, and whether it is right."""
    task = network.config.task_of_kind('activity')
    num_frames = batch.images.shape[1]
    if task is None or num_frames != batch.boxes.shape[2]:
        return {}
    poses, boxes, is_found = matched_poses(people, batch, num_frames)
    chosen = is_found[0, :, -1] & (batch.activities[0] >= 0)
    if not chosen.any():
        return {}
    size = torch.tensor(batch.images.shape[2:4], device=boxes.device)
    numbers = network.activities(poses[0, chosen], boxes[0, chosen], size).argmax(1)
    labels = network.config.tasks[task].labels
    said = {}
    for box, number, true in zip(boxes[0, chosen], numbers, batch.activities[0, chosen]):
        # The boxes are copies of those that were found.
        person = int((people.boxes[-1].float() - box).abs().sum(-1).argmin())
        right = bool(number == true)
        text = labels[number] if right else f'{labels[number]} ({labels[true]})'
        said[person] = (text, right)
    return said


def _drawn(frame: Image, people: People, said: dict[int, tuple[str, bool]]) -> Image:
    scale = WIDTH / frame.shape[1]
    size = (WIDTH, round(frame.shape[0] * scale))
    canvas: Any = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_RGB2BGR)
    for person in (people.box_scores >= MIN_SCORE).nonzero()[:, 0].tolist():
        colour = COLOURS[person % len(COLOURS)]
        box = _places(people.boxes[person].view(2, 2), scale)
        cv2.rectangle(canvas, box[0], box[1], colour, 2, cv2.LINE_AA)
        _draw_skeleton(canvas, people.keypoints[person], scale, colour)
        text, right = said.get(person, ('', True))
        text = f'{float(people.box_scores[person]):.2f} {text}'
        _write(canvas, text, (box[0][0] + 3, max(14, box[0][1] - 5)), colour if right else WRONG)
    return np.asarray(canvas, np.uint8)


def _draw_skeleton(canvas: Any, joints: Tensor, scale: float, colour: tuple[int, ...]) -> None:
    is_known = joints[:, :2].isfinite().all(-1) & (joints[:, 2] > 0)
    places = _places(joints[:, :2].nan_to_num(0.0), scale)
    for first, second in LIMBS:
        if is_known[first] and is_known[second]:
            cv2.line(canvas, places[first], places[second], colour, 2, cv2.LINE_AA)
    for place in (places[i] for i in is_known.nonzero()[:, 0].tolist()):
        cv2.circle(canvas, place, 3, (255, 255, 255), -1, cv2.LINE_AA)


def _places(points: Tensor, scale: float) -> list[tuple[int, int]]:
    """Return points on the sheet; the centre of the first pixel is (0, 0) at any scale."""
    return [(round(x), round(y)) for x, y in ((points + 0.5) * scale - 0.5).tolist()]


def _write(canvas: Any, text: str, place: tuple[int, int], colour: tuple[int, ...]) -> None:
    for shade, width in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, shade, width, cv2.LINE_AA)


def _sheet(tiles: list[Image]) -> Image:
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet[row * height :, column * width :][:height, :width] = tile
    return sheet
