"""Reading people from annotations in the format of COCO."""

from __future__ import annotations

from collections.abc import Sequence
import json
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple
import warnings

from mtl_perception.network.pose.skeleton import KEYPOINTS, NUM_KEYPOINTS
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths


class CocoPeople(NamedTuple):
    """
    The images with people, N of them, and their people, P of all images together.

    Whole columns rather than objects: workers that only read share their memory.
    """

    names: list[str]
    image_ids: NDArray[np.int64]  # [N], rising
    sizes: NDArray[np.int64]  # [N, 2], height and width
    starts: NDArray[np.int64]  # [N + 1]; image i has the people starts[i] to starts[i + 1]
    boxes: NDArray[np.float32]  # [P, 4], xyxy
    keypoints: NDArray[np.float32]  # [P, 17, 3]
    areas: NDArray[np.float32]  # [P]
    is_crowd: NDArray[np.bool_]  # [P]
    unannotated: list[bytes]  # [N], run lengths of the region whose joints nobody annotated

    def mask(self, image: int) -> NDArray[np.bool_]:
        """Return where the joints of an image are annotated, ``[H, W]``."""
        height, width = self.sizes[image].tolist()
        if not self.unannotated[image]:
            return np.ones((height, width), bool)
        region = {'size': [height, width], 'counts': self.unannotated[image]}
        with warnings.catch_warnings():
            # pycocotools 2.0 hands its masks to NumPy 2 in a way that NumPy is about to drop.
            warnings.simplefilter('ignore', DeprecationWarning)
            return np.asarray(run_lengths.decode(region) == 0)


class _Person(NamedTuple):
    box: list[float]
    keypoints: list[float]
    area: float
    is_crowd: bool
    segmentation: Any  # None where the joints are annotated


def read_coco(path: Path, *, min_area: float, needs_joints: bool = True) -> CocoPeople:
    """
    Read the images that have at least one person, in the order of their ids.

    Boxes and segments of COCO measure from the corner of the first pixel, joints from its centre;
    here all measure from the centre.

    :param path: A file such as person_keypoints_val2017.json.
    :param min_area: Of segments, in pixels; joints of smaller people count as not annotated.
    :param needs_joints: Whether annotations without keypoints are refused.
    :raises ValueError: If the file is not of this format; the message names the annotation.
    """
    content = _load(path)
    images = _images(path, content['images'])
    categories = _person_categories(path, content.get('categories'))
    people: dict[int, list[_Person]] = {}
    for annotation in content['annotations']:
        where = f"'{path}': annotation {_get(path, annotation, 'id', int)}"
        if categories and _get(where, annotation, 'category_id', int) not in categories:
            continue
        image_id = _get(where, annotation, 'image_id', int)
        if image_id not in images:
            raise ValueError(f'{where}: image_id must be of a listed image, got {image_id}.')
        person = _person(where, annotation, images[image_id][1:], min_area, needs_joints)
        people.setdefault(image_id, []).append(person)
    if not people:
        raise ValueError(f"'{path}' has no annotation of a person.")
    return _columns(images, people)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(
            f"'{path}' is not a file; the layout is <root>/annotations/"
            'person_keypoints_<train|val>2017.json and <root>/<train|val>2017/*.jpg.'
        )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}.") from error
    for key in ('images', 'annotations'):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"'{path}' must hold a list of '{key}'.")
    return dict(content)


def _images(path: Path, entries: Sequence[Any]) -> dict[int, tuple[str, int, int]]:
    found = {}
    for entry in entries:
        image_id = _get(path, entry, 'id', int)
        where = f"'{path}': image {image_id}"
        height, width = (_get(where, entry, side, int) for side in ('height', 'width'))
        if min(height, width) < 1:
            raise ValueError(f'{where}: its sides must be positive, got {height} x {width}.')
        found[image_id] = (_get(where, entry, 'file_name', str), height, width)
    return found


def _person_categories(path: Path, categories: Any) -> set[int]:
    """Return the ids of the category of people; none if the file has no categories."""
    if not categories:
        return set()
    people = [entry for entry in categories if str(entry.get('name')).lower() == 'person']
    if not people:
        names = [entry.get('name') for entry in categories]
        raise ValueError(f"'{path}': one category must be 'person', got {names}.")
    for entry in people:
        if 'keypoints' in entry and tuple(entry['keypoints']) != KEYPOINTS:
            raise ValueError(
                f"'{path}': keypoints of category 'person' must be {list(KEYPOINTS)}, "
                f'got {entry["keypoints"]}.'
            )
    return {_get(path, entry, 'id', int) for entry in people}


def _person(
    where: str, annotation: Any, size: tuple[int, int], min_area: float, needs_joints: bool
) -> _Person:
    x, y, width, height = _numbers(where, annotation, 'bbox', 4)
    if width < 0 or height < 0:
        raise ValueError(f'{where}: bbox must be (x, y, width, height), got {annotation["bbox"]}.')
    area = float(_get(where, annotation, 'area', (int, float)))
    if not (isfinite(area) and area >= 0):
        raise ValueError(f'{where}: area must be a number of pixels, got {area}.')
    keypoints = [0.0] * (3 * NUM_KEYPOINTS)
    if needs_joints or 'keypoints' in annotation:
        keypoints = _numbers(where, annotation, 'keypoints', 3 * NUM_KEYPOINTS)
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        raise ValueError(f'{where}: visibilities must be 0, 1 or 2, got {keypoints[2::3]}.')
    is_crowd = bool(annotation.get('iscrowd', 0))
    region = None
    if is_crowd or area < min_area or not any(keypoints[2::3]):
        region = _region(where, annotation.get('segmentation'), (x, y, width, height), size)
    box = [x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5]
    return _Person(box, keypoints, area, is_crowd, region)


def _region(
    where: str, segmentation: Any, box: tuple[float, ...], size: tuple[int, int]
) -> dict[str, Any]:
    """Return the run lengths of a segment; where there is none, of the box."""
    if not segmentation:
        x, y, width, height = box
        segmentation = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    if isinstance(segmentation, dict):
        counts = segmentation.get('counts')
        if list(segmentation.get('size', ())) != list(size):
            raise ValueError(
                f'{where}: size of its segmentation must be that of the image, {list(size)}, '
                f'got {segmentation.get("size")}.'
            )
        if isinstance(counts, str):
            return {'size': list(size), 'counts': counts.encode()}
        if not isinstance(counts, list) or sum(counts) != size[0] * size[1]:
            raise ValueError(f'{where}: counts of its segmentation must add up to its pixels.')
        return dict(run_lengths.frPyObjects(segmentation, *size))
    if not isinstance(segmentation, list) or not all(map(_is_polygon, segmentation)):
        raise ValueError(f'{where}: segmentation must be polygons or run lengths.')
    return dict(run_lengths.merge(run_lengths.frPyObjects(segmentation, *size)))


def _is_polygon(points: Any) -> bool:
    return isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0


def _columns(
    images: dict[int, tuple[str, int, int]], people: dict[int, list[_Person]]
) -> CocoPeople:
    image_ids = sorted(people)
    rows = [person for image_id in image_ids for person in people[image_id]]
    counts = [len(people[image_id]) for image_id in image_ids]
    keypoints = np.array([person.keypoints for person in rows], np.float32)
    return CocoPeople(
        names=[images[image_id][0] for image_id in image_ids],
        image_ids=np.array(image_ids, np.int64),
        sizes=np.array([images[image_id][1:] for image_id in image_ids], np.int64),
        starts=np.cumsum([0, *counts], dtype=np.int64),
        boxes=np.array([person.box for person in rows], np.float32),
        keypoints=keypoints.reshape(-1, NUM_KEYPOINTS, 3),
        areas=np.array([person.area for person in rows], np.float32),
        is_crowd=np.array([person.is_crowd for person in rows], bool),
        unannotated=[_joined(people[image_id]) for image_id in image_ids],
    )


def _joined(people: Sequence[_Person]) -> bytes:
    regions = [person.segmentation for person in people if person.segmentation is not None]
    return bytes(run_lengths.merge(regions)['counts']) if regions else b''


def _numbers(where: str, entry: Any, key: str, count: int) -> list[float]:
    values = _get(where, entry, key, list)
    if len(values) != count:
        raise ValueError(f'{where}: {key} must be {count} numbers, got {len(values)}.')
    if not all(isinstance(value, (int, float)) and isfinite(value) for value in values):
        raise ValueError(f'{where}: {key} must be {count} numbers, got {values}.')
    return [float(value) for value in values]


def _get(where: object, entry: Any, key: str, kind: Any) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{where} must have '{key}', got {str(entry)[:80]}.")
    if not isinstance(entry[key], kind):
        raise ValueError(f'{where}: {key} has the wrong type, got {entry[key]!r}.')
    return entry[key]
