"""One picture of what every label looks like."""

from collections.abc import Iterator
from pathlib import Path

import cv2
from mtl_training.data.synthetic.activity_scenes import sample_activity_scene
from mtl_training.data.synthetic.clips import scene_seed
from mtl_training.data.synthetic.labels import ACTIVITY, TASK_LABELS
from mtl_training.data.synthetic.rendering import render
from mtl_training.data.synthetic.scene import MAX_PEOPLE, Scene
from mtl_training.data.synthetic.shapes import Image
from mtl_training.data.synthetic.stream import BOTH, STREAM_TASKS
import numpy as np

_FRAMES = 8


def contact_sheet(
    path: Path,
    *,
    size: tuple[int, int] = (128, 171),
    seed: int = 0,
    task: str = BOTH,
    clip_seconds: float = 2.0,
) -> None:
    """
    Write a picture with a row of frames for each label.

    :param path: Where to; the suffix chooses the format.
    :param size: Height and width of each frame, pixels.
    :param seed: Another seed shows other people and places.
    :param task: As of a stream: ``'action'``, ``'gesture'``, ``'both'``, ``'activity'`` or
        ``'all'``; of activities there is a row for each number of people.
    :raises ValueError: If the format is unknown.
    """
    rows = []
    for label, scene in _scenes(task, seed):
        start = scene.window(0.5, clip_seconds)
        times = np.linspace(start, start + clip_seconds, _FRAMES)
        rows.append(_row(label, render(scene, times, size).frames))
    try:
        coded, data = cv2.imencode(path.suffix, np.concatenate(rows)[..., ::-1])
    except cv2.error as error:
        raise ValueError(f"contact sheet '{path}' must end in .png or .jpg.") from error
    if not coded:
        raise ValueError(f"contact sheet '{path}' could not be encoded.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def _scenes(task: str, seed: int) -> Iterator[tuple[str, Scene]]:
    rows = [
        (label, None) for name in STREAM_TASKS[task] for label in TASK_LABELS.get(name, ())
    ] + [
        (f'{ACTIVITY}, {count}', count)
        for count in range(1, MAX_PEOPLE + 1)
        if ACTIVITY in STREAM_TASKS[task]
    ]
    for number, (label, num_people) in enumerate(rows):
        scene_number = scene_seed('stream', seed, number)
        if num_people is None:
            yield label, Scene.sample(scene_number, label=label)
        else:
            yield label, sample_activity_scene(scene_number, num_people)


def _row(label: str, frames: Image) -> Image:
    row = np.ascontiguousarray(np.concatenate(list(frames), axis=1))
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(row, label, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness,
                    cv2.LINE_AA)  # fmt: skip
    return row
