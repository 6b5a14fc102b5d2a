"""Reading people and activities from the annotations of MPII Human Pose."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from mtl_perception.network.pose.skeleton import KEYPOINTS, NUM_KEYPOINTS
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

# MPII's joints in the order of their ids. Pelvis, thorax, neck and top of the head have no
# counterpart in COCO, and nose, eyes and ears none here.
JOINTS: tuple[str | None, ...] = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    None,
    None,
    None,
    None,
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
)
SCALE_PX = 200  # height of a person of scale 1
# A body reaches further than its joints; a share of its height.
MARGIN = 0.05


class MpiiPerson(NamedTuple):
    """One annotated person; pixels, (0, 0) being the centre of the first one."""

    box: NDArray[np.float32]  # [4], xyxy; around joints and head, may reach out of the image
    keypoints: NDArray[np.float32]  # [17, 3]
    unannotated: NDArray[np.float32]  # [4], where joints have no annotation: head, or all of them


class MpiiImage(NamedTuple):
    """One image of the training set that has somebody with joints."""

    name: str
    number: int  # in the list of all images, from 0
    video: int  # images of one video are alike; negative for one of an unknown video
    activity: str
    category: str
    people: tuple[MpiiPerson, ...]


def read_mpii(path: Path) -> list[MpiiImage]:
    """
    Read the images of the training set, the only ones with annotations, that show somebody.

    Fields that are missing or empty, as many are, leave out what they would have said. A joint
    of which nobody said whether it is visible counts as visible.

    :param path: Of mpii_human_pose_v1_u12_1.mat.
    :raises ValueError: If the file is not of this format.
    """
    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True, variable_names='RELEASE')
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise ValueError(
            f"'{path}' is not a Matlab file of version 7 or less: {error}."
        ) from error
    release = content.get('RELEASE')
    images, is_train = _items(release, 'annolist'), _items(release, 'img_train')
    activities = _items(release, 'act')
    if not images or len(is_train) != len(images) or len(activities) not in (0, len(images)):
        raise ValueError(
            f"'{path}' must hold RELEASE with annolist, img_train and act of one length, got "
            f'{len(images)}, {len(is_train)} and {len(activities)}.'
        )
    activities = activities or [None] * len(images)
    found = (
        _image(number, image, activity)
        for number, (image, activity, train) in enumerate(zip(images, activities, is_train))
        if train == 1
    )
    return [image for image in found if any(p.keypoints[:, 2].any() for p in image.people)]


def _image(number: int, image: Any, activity: Any) -> MpiiImage:
    video = _number(image, 'vididx')
    return MpiiImage(
        name=_text(getattr(image, 'image', None), 'name'),
        number=number,
        video=-(number + 1) if video is None else int(video),
        activity=_text(activity, 'act_name'),
        category=_text(activity, 'cat_name'),
        people=tuple(_people(image)),
    )


def _people(image: Any) -> Iterator[MpiiPerson]:
    for person in _items(image, 'annorect'):
        keypoints, joints = _joints(person)
        head = _corners(person)
        height = SCALE_PX * (_number(person, 'scale') or 0.0)
        if len(joints):
            places = np.concatenate([joints, head])
            low, high = places.min(0), places.max(0)
            margin = MARGIN * (height or (high - low).max())
            box = np.concatenate([low - margin, high + margin])
            unannotated = box if not len(head) else np.concatenate([head.min(0), head.max(0)])
        else:
            guess = _guess(person, height)
            if guess is None:
                continue
            box = unannotated = guess
        yield MpiiPerson(box.astype(np.float32), keypoints, unannotated.astype(np.float32))


def _joints(person: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return COCO's joints, ``[17, 3]``, and the places of all of MPII's, ``[J, 2]``."""
    keypoints, places = np.zeros((NUM_KEYPOINTS, 3), np.float32), []
    for point in _items(getattr(person, 'annopoints', None), 'point'):
        joint, x, y = (_number(point, name) for name in ('id', 'x', 'y'))
        if joint is None or x is None or y is None or joint not in range(len(JOINTS)):
            continue
        # Matlab counts from 1.
        places.append((x - 1, y - 1))
        if (name := JOINTS[int(joint)]) is not None:
            visibility = 1 if _number(point, 'is_visible') == 0 else 2
            keypoints[KEYPOINTS.index(name)] = (x - 1, y - 1, visibility)
    return keypoints, np.array(places, np.float64).reshape(-1, 2)


def _corners(person: Any) -> NDArray[np.float64]:
    """Return two corners of the head, ``[2, 2]``, or none of them."""
    sides = [_number(person, name) for name in ('x1', 'y1', 'x2', 'y2')]
    known = [side for side in sides if side is not None]
    return np.array(known if len(known) == 4 else [], np.float64).reshape(-1, 2) - 1


def _guess(person: Any, height: float) -> NDArray[np.float64] | None:
    """Return the box of somebody upright whose middle and height alone are known."""
    place = getattr(person, 'objpos', None)
    x, y = _number(place, 'x'), _number(place, 'y')
    if x is None or y is None or height <= 0:
        return None
    middle, half = np.array([x - 1, y - 1]), np.array([height / 4, height / 2])
    return np.concatenate([middle - half, middle + half])


def _items(struct: Any, name: str) -> list[Any]:
    """Return the entries of a field, which may be missing, empty, single or an array."""
    value = getattr(struct, name, None)
    if value is None:
        return []
    return list(value.flat) if isinstance(value, np.ndarray) else [value]


def _number(struct: Any, name: str) -> float | None:
    values = _items(struct, name)
    try:
        value = float(values[0])
    except (IndexError, TypeError, ValueError):
        return None
    return value if isfinite(value) else None


def _text(struct: Any, name: str) -> str:
    value = getattr(struct, name, None)
    return value.strip() if isinstance(value, str) else ''
