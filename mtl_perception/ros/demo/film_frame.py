"""One frame of the demo's film: the image, the people on it, and a panel beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
from mtl_perception.runtime.drawing import draw_people, PersonView
import numpy as np
from numpy.typing import NDArray

PICTURE_SIZE = (480, 640)
_PANEL_WIDTH = 340
_BACKGROUND = (34, 30, 28)  # colours are BGR
_TEXT, _DIM, _TRACK = (240, 240, 240), (150, 145, 140), (66, 60, 56)
_HIT, _MISS, _NEUTRAL = (96, 200, 80), (80, 80, 235), (230, 170, 70)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_NUM_BARS = 3
_BAR_STEP = 40


@dataclass(frozen=True)
class TaskView:
    """What the film shows of one task."""

    name: str
    truth: str  # '' = the scene does not speak of this task, or nothing is known
    bars: tuple[tuple[str, float], ...]  # classes and scores, best first
    is_settled: bool  # the clip lies wholly in the scene


@dataclass(frozen=True)
class PeopleView:
    """What the film shows of people."""

    people: tuple[PersonView, ...]
    image_size: tuple[int, int]  # height, width of the image whose pixels the places are
    truth: str  # '' = nothing is known, or the scene does not speak of activities
    are_right: tuple[bool | None, ...]  # the activities; None = nothing is known


@dataclass(frozen=True)
class View:
    """What the film shows on and beside an image."""

    title: str
    time_sec: float
    tasks: tuple[TaskView, ...]
    footer: str
    people: PeopleView | None = None  # None = the network does not look for people


def draw(pixels: NDArray[np.uint8], is_rgb: bool, view: View) -> NDArray[np.uint8]:
    """
    Return the image with a panel beside it.

    :param pixels: ``[H, W, 3]`` uint8, at most as large as ``PICTURE_SIZE``.
    :return: BGR, of the same size for every image.
    """
    height, width = PICTURE_SIZE
    canvas = np.full((height, width + _PANEL_WIDTH, 3), _BACKGROUND, np.uint8)
    canvas[:, :width] = 0
    picture = fitted(pixels[..., ::-1] if is_rgb else pixels)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    if view.people is not None:
        draw_people(picture, enlarged(view.people, picture.shape[0]))
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    x, y = width + 20, 38
    _put(canvas, view.title, (x, y), 0.62, _TEXT)
    _put(canvas, f'{view.time_sec:.1f} s', (x + 240, y), 0.5, _DIM)
    y += 22
    for task in view.tasks[:2]:
        y = _draw_task(canvas, task, (x, y))
    footer = view.footer.splitlines()
    if view.people is not None:
        _draw_activities(canvas, view.people, (x, y), height - 30 - 22 * len(footer))
    for offset, line in enumerate(reversed(footer)):
        _put(canvas, line, (x, height - 18 - 22 * offset), 0.42, _DIM)
    return canvas


def enlarged(view: PeopleView, height: int) -> list[PersonView]:
    """Return the people of an image, where they are once it has another height."""
    scale = height / view.image_size[0]
    # The centre of a pixel stays the centre of what the pixel becomes.
    return [
        replace(
            person,
            box=(person.box + 0.5) * scale - 0.5,
            keypoints=(person.keypoints + 0.5) * scale - 0.5,
        )
        for person in view.people
    ]


def shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of an image, no larger than the picture in the film."""
    scale = _scale(pixels)
    if scale >= 1:
        return pixels.copy()
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image enlarged to the picture in the film."""
    scale = _scale(pixels)
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _scale(pixels: NDArray[np.uint8]) -> float:
    return min(PICTURE_SIZE[0] / pixels.shape[0], PICTURE_SIZE[1] / pixels.shape[1])


def _draw_task(canvas: NDArray[np.uint8], task: TaskView, corner: tuple[int, int]) -> int:
    x, y = corner
    y += 28
    _put(canvas, task.name.upper(), (x, y), 0.5, _DIM)
    y += 26
    if task.truth:
        _put(canvas, f'truth: {task.truth}', (x, y), 0.56, _TEXT)
        y += 14
    for index in range(_NUM_BARS):
        if index < len(task.bars):
            label, score = task.bars[index]
            _draw_bar(canvas, (x, y + 8), label, score, _colour(task, label))
        y += _BAR_STEP
    return y


def _draw_activities(
    canvas: NDArray[np.uint8], view: PeopleView, corner: tuple[int, int], bottom: int
) -> None:
    """Draw a bar for each person's activity, as many as there is room for."""
    x, y = corner
    y += 28
    if y + _BAR_STEP > bottom:
        return
    _put(canvas, f'PEOPLE: {len(view.people)}', (x, y), 0.5, _DIM)
    y += 14
    if view.truth:
        _put(canvas, f'truth: {view.truth}', (x, y + 12), 0.46, _TEXT)
        y += 26
    for person, is_right in zip(view.people, view.are_right):
        if y + _BAR_STEP > bottom:
            return
        text = f'{person.track_id}  {person.activity or "(unsure)"}'
        colour = _NEUTRAL if is_right is None else _HIT if is_right else _MISS
        _draw_bar(canvas, (x, y), text, person.activity_score, colour)
        y += _BAR_STEP


def _colour(task: TaskView, label: str) -> tuple[int, int, int]:
    if not task.is_settled:
        return _DIM
    if not task.truth:
        return _NEUTRAL
    if label == task.truth:
        return _HIT
    return _MISS if label == task.bars[0][0] else _DIM


def _draw_bar(
    canvas: NDArray[np.uint8],
    corner: tuple[int, int],
    label: str,
    score: float,
    colour: tuple[int, int, int],
) -> None:
    x, y = corner
    width = _PANEL_WIDTH - 40
    _put(canvas, label, (x, y + 12), 0.46, _TEXT)
    _put(canvas, f'{score:.2f}', (x + width - 36, y + 12), 0.46, _TEXT)
    cv2.rectangle(canvas, (x, y + 18), (x + width, y + 26), _TRACK, cv2.FILLED)
    end = x + round(width * min(max(score, 0.0), 1.0))
    cv2.rectangle(canvas, (x, y + 18), (end, y + 26), colour, cv2.FILLED)


def _put(
    canvas: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    scale: float,
    colour: Sequence[int],
) -> None:
    """Write a line, in smaller letters where it would leave the panel."""
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    scale *= min(1.0, (canvas.shape[1] - 8 - corner[0]) / max(width, 1))
    cv2.putText(canvas, text, corner, _FONT, scale, tuple(colour), 1, cv2.LINE_AA)
