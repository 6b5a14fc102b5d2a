"""One picture of what every label looks like."""

from pathlib import Path

import cv2
from mtl_training.data.synthetic.clips import scene_seed
from mtl_training.data.synthetic.labels import TASK_LABELS
from mtl_training.data.synthetic.rendering import render
from mtl_training.data.synthetic.scene import Scene
from mtl_training.data.synthetic.shapes import Image
from mtl_training.data.synthetic.stream import BOTH
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
    :param task: ``'action'``, ``'gesture'`` or ``'both'``.
    :raises ValueError: If the format is unknown.
    """
    tasks = list(TASK_LABELS) if task == BOTH else [task]
    labels = [label for name in tasks for label in TASK_LABELS[name]]
    rows = []
    for number, label in enumerate(labels):
        scene = Scene.sample(scene_seed('stream', seed, number), label=label)
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


def _row(label: str, frames: Image) -> Image:
    row = np.ascontiguousarray(np.concatenate(list(frames), axis=1))
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(row, label, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness,
                    cv2.LINE_AA)  # fmt: skip
    return row
