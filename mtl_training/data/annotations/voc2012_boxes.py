"""Boxes of PASCAL VOC, from the XML file of an image."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

_LIMIT_PX = 1e6  # no image is as large; NaN and infinity fail too


class VocObject(NamedTuple):
    """An annotated object."""

    name: str  # of its class
    box: NDArray[np.float32]  # [4], xyxy in pixels; (0, 0) is the centre of the first one
    is_difficult: bool
    is_truncated: bool
    is_occluded: bool
    pose: str  # as Left or Frontal; empty where nobody said
    actions: tuple[str, ...]  # what a person does; empty where nobody said


class VocImage(NamedTuple):
    """What the file of an image says of it."""

    size: tuple[int, int] | None  # height and width; None where the file does not tell
    objects: tuple[VocObject, ...]  # in the order of the file, which action lists count in


def read_voc_boxes(path: Path) -> VocImage:
    """
    Read the annotation of an image.

    :param path: A file such as Annotations/2008_000008.xml.
    :raises ValueError: If it is not of this format.
    """
    if not path.is_file():
        raise ValueError(
            f"'{path}' is not a file that exists; the layout is "
            '<root>/VOCdevkit/VOC2012/Annotations/<id>.xml.'
        )
    return parse_annotation(path, path.read_text(encoding='utf-8-sig', errors='replace'))


def parse_annotation(path: Path, text: str) -> VocImage:
    """
    Return what the XML of an image says.

    Entities, the ones of outside files and those that swell to gigabytes alike, must be declared
    in a document type, and these files have none. A text with one is refused before it is parsed,
    which is safe as long as it is text: bytes could say ``<!DOCTYPE`` in another encoding.

    :param path: The file, for messages.
    :raises ValueError: If it is not of this format.
    """
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ValueError(f"'{path}' must not declare a document type or entities.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"'{path}' is not XML: {error}.") from error
    if root.tag != 'annotation':
        raise ValueError(f"'{path}' must hold an 'annotation', got '{root.tag}'.")
    objects = [_object(path, i, element) for i, element in enumerate(root.findall('object'))]
    return VocImage(_size(root), tuple(objects))


def _object(path: Path, index: int, element: ElementTree.Element) -> VocObject:
    where = f"'{path}': object {index + 1}"
    name = _text(element, 'name')
    if not name:
        raise ValueError(f"{where} must have a 'name'.")
    corners = [_text(element, f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')]
    try:
        left, top, right, bottom = map(float, corners)
    except ValueError:
        raise ValueError(f'{where}: bndbox must be four numbers, got {corners}.') from None
    is_inside = all(abs(side) < _LIMIT_PX for side in (left, top, right, bottom))
    if not (is_inside and left <= right and top <= bottom):
        raise ValueError(f'{where}: bndbox must be xmin, ymin, xmax, ymax, got {corners}.')
    actions = element.find('actions')
    doing = [] if actions is None else [a.tag for a in actions if (a.text or '').strip() == '1']
    return VocObject(
        name=name,
        # The file counts from 1 and its corners are pixels that still belong to the object, which
        # reaches half a pixel beyond their centres.
        box=np.array([left - 1.5, top - 1.5, right - 0.5, bottom - 0.5], np.float32),
        is_difficult=_text(element, 'difficult') == '1',
        is_truncated=_text(element, 'truncated') == '1',
        is_occluded=_text(element, 'occluded') == '1',
        pose=_text(element, 'pose'),
        actions=tuple(doing),
    )


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    sides = [_text(root, f'size/{side}') for side in ('height', 'width')]
    known = [int(side) for side in sides if side.isascii() and side.isdecimal() and len(side) < 9]
    return (known[0], known[1]) if len(known) == 2 and min(known) > 0 else None


def _text(element: ElementTree.Element, place: str) -> str:
    return (element.findtext(place) or '').strip()
