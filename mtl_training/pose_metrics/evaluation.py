"""Average precision and recall of boxes and of poses, as COCO has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
import io
import math
from typing import Any

from mtl_training.pose_metrics import people
from mtl_training.pose_metrics.people import FoundPeople, JOINTS, TruePeople
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

PERSON = 1  # the category
# Where a joint is put that was not found: farther from every place than any image is wide.
FAR_PX = 1e9
# The places of the figures in what pycocotools sums up.
FIGURES: Mapping[str, Mapping[str, int]] = {
    'bbox': {'ap': 0, 'ap50': 1, 'ap75': 2, 'ap_medium': 4, 'ap_large': 5, 'ar': 8},
    'keypoints': {'ap': 0, 'ap50': 1, 'ap75': 2, 'ap_medium': 3, 'ap_large': 4, 'ar': 5},
}
Annotation = dict[str, Any]


class PoseEvaluation:
    """
    People found and true people of many images, and COCO's figures of how well they agree.

    The figures are means over the thresholds .50:.05:.95 of box IoU or of object keypoint
    similarity (OKS); those of medium and large people go by the areas of the truth (32² to 96²
    pixels, and beyond). Crowds count neither for nor against what was found. A person without a
    single annotated joint counts as a box, and is a region to ignore for poses. An evaluation can
    be pickled, and so be gathered from several processes as it is, and merged.
    """

    def __init__(self) -> None:
        self._images: dict[int, tuple[FoundPeople, TruePeople]] = {}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def update(self, image_id: int, found: FoundPeople, truth: TruePeople) -> None:
        """
        Add an image. Everything is copied to the CPU; the figures are computed when asked for.

        :raises ValueError: If the image was added before, a field has another shape than the
            number of boxes asks for, or a box or a score is not finite.
        """
        found, truth = people.as_arrays(found, 'found'), people.as_arrays(truth, 'truth')
        for name, values in (
            ('found.boxes', found.boxes),
            ('found.box_scores', found.box_scores),
            ('found.pose_scores', found.pose_scores[_has_joints(found)]),
        ):
            if not np.isfinite(values).all():
                raise ValueError(f'{name} must be finite, got {values[~np.isfinite(values)][0]}.')
        self._add(int(image_id), found, truth)

    def merge(self, other: PoseEvaluation) -> None:
        """
        Add all images of another evaluation.

        :raises ValueError: If both have the same image.
        """
        for image_id, (found, truth) in other._images.items():
            self._add(image_id, found, truth)

    def boxes(self) -> dict[str, float | None]:
        """
        Return AP and AR of the boxes, at most 100 per image.

        :return: ``ap``, ``ap50``, ``ap75``, ``ap_medium``, ``ap_large`` and ``ar`` in [0, 1]; None
            where the truth has nobody to find.
        """
        return self._figures('bbox', _boxes)

    def keypoints(self) -> dict[str, float | None]:
        """
        Return AP and AR of the poses, at most 20 per image.

        A joint that was not found is infinitely far from every truth (COCO's results have no
        missing joints; to leave one out never pays), and outside of every region to ignore. The
        size of a pose is that of its joints that were found. Somebody of whom no joint was found
        is no pose.

        :return: As :meth:`boxes`.
        """
        return self._figures('keypoints', _poses)

    def to_lists(self) -> list[dict[str, Any]]:
        """Return all images as plain lists, fit for JSON."""
        return [
            {'image_id': image_id, 'found': people.to_lists(f), 'truth': people.to_lists(t)}
            for image_id, (f, t) in self._images.items()
        ]

    @classmethod
    def from_lists(cls, images: Sequence[Mapping[str, Any]]) -> PoseEvaluation:
        """Return the evaluation that :meth:`to_lists` wrote."""
        evaluation = cls()
        for image in images:
            found = people.from_lists(FoundPeople, image['found'])
            evaluation._add(
                image['image_id'], found, people.from_lists(TruePeople, image['truth'])
            )
        return evaluation

    def _add(self, image_id: int, found: FoundPeople, truth: TruePeople) -> None:
        if image_id in self._images:
            raise ValueError(f'image_id must be new to the evaluation, got {image_id} again.')
        self._images[image_id] = (found, truth)

    def _figures(self, kind: str, found_of: Any) -> dict[str, float | None]:
        images = self._images.items()
        truth = [a for image_id, (_, truth) in images for a in _truth(image_id, truth)]
        found = [a for image_id, (found, _) in images for a in found_of(image_id, found)]
        image_ids = list(self._images)
        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(_coco(truth, image_ids), _coco(found, image_ids), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = {name: float(evaluation.stats[i]) for name, i in FIGURES[kind].items()}
        return {name: None if value < 0 else value for name, value in values.items()}


def _coco(annotations: Sequence[Annotation], image_ids: Sequence[int]) -> COCO:
    coco = COCO()
    coco.dataset = {
        'images': [{'id': image_id} for image_id in image_ids],
        'categories': [{'id': PERSON}],
        # From 1, as pycocotools takes a match with number 0 for none.
        'annotations': [{**a, 'id': number} for number, a in enumerate(annotations, 1)],
    }
    coco.createIndex()
    return coco


def _annotations(image_id: int, fields: Mapping[str, Any]) -> Iterator[Annotation]:
    for values in zip(*(array.tolist() for array in fields.values())):
        yield {'image_id': image_id, 'category_id': PERSON, **dict(zip(fields, values))}


def _truth(image_id: int, truth: TruePeople) -> Iterator[Annotation]:
    fields = {
        'bbox': _xywh(truth.boxes),
        'area': truth.areas,
        'iscrowd': truth.is_crowd.astype(int),
        'keypoints': _flat(truth.keypoints),
        'num_keypoints': (truth.keypoints[..., 2] > 0).sum(1),
    }
    return _annotations(image_id, fields)


def _boxes(image_id: int, found: FoundPeople) -> Iterator[Annotation]:
    boxes = _xywh(found.boxes)
    fields = {'bbox': boxes, 'area': boxes[:, 2] * boxes[:, 3], 'score': found.box_scores}
    return _annotations(image_id, fields)


def _poses(image_id: int, found: FoundPeople) -> Iterator[Annotation]:
    kept = _has_joints(found)
    joints = found.keypoints[kept]
    missing = np.isnan(joints[..., :2]).any(-1, keepdims=True)
    places = np.where(missing, np.nan, joints[..., :2])
    sides = np.nanmax(places, 1) - np.nanmin(places, 1)
    fields = {
        'keypoints': _flat(np.where(missing, (FAR_PX, FAR_PX, 0.0), joints)),
        'area': sides.prod(1),
        'score': found.pose_scores[kept],
    }
    return _annotations(image_id, fields)


def _has_joints(found: FoundPeople) -> Any:
    return (~np.isnan(found.keypoints[..., :2]).any(-1)).any(-1)


def _flat(joints: Any) -> Any:
    return joints.reshape(len(joints), math.prod(JOINTS))


def _xywh(boxes: Any) -> Any:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
