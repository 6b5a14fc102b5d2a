"""What was recognised, drawn on the picture it was recognised in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import zlib

import cv2
from mtl_perception.network.pose.skeleton import KEYPOINTS, LIMBS
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

# Red, green, blue.
LEFT, RIGHT, MIDDLE = (255, 150, 40), (60, 190, 255), (245, 245, 245)
DARK = (20, 20, 20)
# Of boxes and captions: bright enough for dark letters.
TRACKS: tuple[Colour, ...] = (
    (90, 220, 120),
    (255, 205, 70),
    (240, 130, 220),
    (110, 210, 240),
    (255, 140, 120),
    (190, 230, 80),
    (190, 170, 255),
    (240, 190, 150),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 3  # bits of a pixel's fraction
# Beyond any image, and small enough for OpenCV's integers.
FAR_PX = 1e5


@dataclass(frozen=True)
class PersonView:
    """What is drawn of a person; places are pixels, (0, 0) being the centre of the first."""

    track_id: str
    box: NDArray[np.floating]  # [4], xyxy
    keypoints: NDArray[np.floating]  # [17, >= 2] as (x, y, ...); NaN where a joint is missing
    activity: str = ''  # '' for none
    activity_score: float = 0.0


def draw_people(
    image: NDArray[np.uint8], people: Sequence[PersonView], *, is_bgr: bool = True
) -> None:
    """
    Draw boxes, skeletons, ids and activities into an image.

    The person's left is orange, the right is blue; a box keeps its colour as long as its track.
    Widths and letters grow with the image, within limits.

    :param image: uint8 ``[H, W, 3]``, contiguous; it is changed.
    :param is_bgr: Whether blue comes first.
    """
    if not people:
        return
    canvas = _Canvas(image, is_bgr)
    colours = [TRACKS[zlib.crc32(person.track_id.encode()) % len(TRACKS)] for person in people]
    for person, colour in zip(people, colours):
        x_min, y_min, x_max, y_max = person.box
        corners = [[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]]
        canvas.lines(np.array([corners]), colour, canvas.thickness, is_closed=True)
    _draw_skeletons(canvas, np.stack([person.keypoints[:, :2] for person in people]))
    for person, colour in zip(people, colours):
        words = [person.track_id]
        if person.activity:
            words += [person.activity, f'{person.activity_score:.0%}']
        canvas.caption(' '.join(words), person.box, colour)


def draw_labels(image: NDArray[np.uint8], lines: Sequence[str], *, is_bgr: bool = True) -> None:
    """
    Write lines into the lower left corner of an image, on a darkened ground.

    A line that is wider than the image goes on in the next row.

    :param image: As for :func:`draw_people`.
    :param lines: ASCII; OpenCV's letters know no others.
    """
    if not lines:
        return
    canvas = _Canvas(image, is_bgr)
    pad = canvas.letter_height // 2
    lines = [row for line in lines for row in _rows(canvas, line, image.shape[1] - 2 * pad)]
    sizes = [canvas.size_of(line) for line in lines]
    row_height = canvas.letter_height + pad
    top = max(0, image.shape[0] - len(lines) * row_height - pad)
    ground = image[top:, : max(width for width, _ in sizes) + 2 * pad]
    ground //= 4
    for row, line in enumerate(lines):
        canvas.write(line, (pad, top + pad + row * row_height), MIDDLE)


def _rows(canvas: _Canvas, line: str, width: int) -> list[str]:
    """Break a line between words, so that each row is as wide as it may be."""
    first, *words = line.split(' ')
    rows = [first]
    for word in words:
        if canvas.size_of(f'{rows[-1]} {word}')[0] <= width:
            rows[-1] += f' {word}'
        else:
            rows.append(word)
    return rows


def _sides() -> tuple[list[Colour], list[Colour]]:
    """Return the colours of the joints and of the limbs."""
    joints = [
        LEFT if name.startswith('left') else RIGHT if name.startswith('right') else MIDDLE
        for name in KEYPOINTS
    ]
    limbs = []
    for first, second in LIMBS:
        # The nose belongs to both sides.
        sides = {joints[first], joints[second]} - {MIDDLE}
        limbs.append(sides.pop() if len(sides) == 1 else MIDDLE)
    return joints, limbs


JOINT_COLOURS, LIMB_COLOURS = _sides()
LIMB_ENDS = np.array(LIMBS)


def _draw_skeletons(canvas: _Canvas, points: NDArray[np.floating]) -> None:
    """Draw the skeletons of all people, ``[N, 17, 2]``, with one call for each colour."""
    limbs = points[:, LIMB_ENDS]  # [N, L, 2, 2]
    is_whole = np.isfinite(limbs).all((2, 3))
    canvas.lines(limbs[is_whole], DARK, canvas.thickness + 2)
    is_found = np.isfinite(points).all(2)
    # A line from a place to itself is a dot.
    dots = np.stack([points, points], axis=2)
    canvas.lines(dots[is_found], DARK, 3 * canvas.thickness + 4)
    for colour in (MIDDLE, LEFT, RIGHT):
        of_limbs = is_whole & np.array([c == colour for c in LIMB_COLOURS])
        canvas.lines(limbs[of_limbs], colour, canvas.thickness)
        of_joints = is_found & np.array([c == colour for c in JOINT_COLOURS])
        canvas.lines(dots[of_joints], colour, 3 * canvas.thickness + 1)


class _Canvas:
    """An image with widths and letters that suit its size."""

    def __init__(self, image: NDArray[np.uint8], is_bgr: bool) -> None:
        self._image, self._is_bgr = image, is_bgr
        side = min(image.shape[:2])
        self.thickness = int(np.clip(round(side / 240), 1, 4))
        self._font_scale = float(np.clip(side / 900, 0.38, 1.2))
        self._font_thickness = 1 if side < 700 else 2
        self.letter_height = self.size_of('Ag')[1]
        self._taken: list[tuple[int, int, int, int]] = []  # by captions: top, left, bottom, right

    def lines(
        self,
        lines: NDArray[np.floating],
        colour: Colour,
        thickness: int,
        *,
        is_closed: bool = False,
    ) -> None:
        """Draw ``[N, P, 2]``: N lines of P points."""
        if not len(lines):
            return
        fixed = np.rint(np.clip(lines, -FAR_PX, FAR_PX) * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(
            self._image, fixed, is_closed, self._ordered(colour), thickness, cv2.LINE_AA, SHIFT
        )

    def caption(self, text: str, box: NDArray[np.floating], colour: Colour) -> None:
        """Write on a ground of the colour, above the box, or inside where there is no room."""
        width, height = self.size_of(text)
        pad = max(2, height // 3)
        size = (height + 2 * pad, width + 2 * pad)
        top, left = self._free_place(box, size)
        self._image[top : top + size[0], left : left + size[1]] = self._ordered(colour)
        self.write(text, (left + pad, top + pad), DARK)

    def _free_place(self, box: NDArray[np.floating], size: tuple[int, int]) -> tuple[int, int]:
        """Return where a caption covers no other one, unless that is outside the image."""
        rows, columns = self._image.shape[:2]
        height, width = size
        x_min, y_min = np.clip(np.rint(box[:2]), -FAR_PX, FAR_PX).astype(int)
        left = int(np.clip(x_min - self.thickness // 2, 0, max(0, columns - width)))
        top = int(np.clip(y_min - height, 0, max(0, rows - height)))
        for taken_top, taken_left, taken_bottom, taken_right in sorted(self._taken):
            is_beside = left >= taken_right or left + width <= taken_left
            if not is_beside and taken_top - height < top < taken_bottom:
                top = taken_bottom
        top = min(top, max(0, rows - height))
        self._taken.append((top, left, top + height, left + width))
        return top, left

    def write(self, text: str, place: tuple[int, int], colour: Colour) -> None:
        """Write a line whose upper left corner is (x, y)."""
        _, height = self.size_of(text)
        cv2.putText(
            self._image,
            text,
            (place[0], place[1] + height - self._descent()),
            FONT,
            self._font_scale,
            self._ordered(colour),
            self._font_thickness,
            cv2.LINE_AA,
        )

    def size_of(self, text: str) -> tuple[int, int]:
        """Return width and height of a line, what hangs below its base line included."""
        (width, height), _ = cv2.getTextSize(text, FONT, self._font_scale, self._font_thickness)
        return width, height + self._descent()

    def _descent(self) -> int:
        return max(2, round(7 * self._font_scale))

    def _ordered(self, colour: Colour) -> Colour:
        return colour[::-1] if self._is_bgr else colour
