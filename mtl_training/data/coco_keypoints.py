"""People and their joints in photos: COCO 2017, and whatever is annotated in its format."""

from __future__ import annotations

import logging
from pathlib import Path

from mtl_perception.network.config import KINETICS_MEAN
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training.data.coco_annotations import CocoPeople, read_coco
from mtl_training.data.frame_augmentation import FrameAugmentation
from mtl_training.data.frame_sample import FrameSample, UNKNOWN
from mtl_training.data.photos import existing, Photo, PhotoReader, SPLITS
import numpy as np

LABELS = {'detection': ('person',), 'keypoints': KEYPOINTS, 'association': KEYPOINTS}
# PRN learns from people with more than three joints (Kocabas et al., ECCV 2018).
MIN_KEYPOINTS = {'detection': 0, 'keypoints': 0, 'association': 4}
_LOGGER = logging.getLogger(__name__)


class CocoKeypoints:
    """
    COCO 2017 (Lin et al., ECCV 2014): ``<root>/annotations/person_keypoints_<split>2017.json``.

    Images with at least one person. Crowds count neither for nor against a detection. People
    without a single annotated joint are people to the detection; to the joints they are, as crowds
    and tiny people, a region without annotation. Your own photos can be read the same way, given
    ``annotations`` and ``images_dir``, as labelling tools export to this format.
    """

    def __init__(
        self,
        task: str,
        split: str,
        *,
        root: str,
        size: tuple[int, int],
        fit: str = 'pad',
        images: int = 1,
        history: int = 1,
        history_seconds: float = 0.0,
        annotations: str | None = None,
        images_dir: str | None = None,
        min_keypoints: int | None = None,
        tiny_area: float = 32.0**2,
        augment: bool = False,
        rotation_deg: float = 40.0,
        scale: tuple[float, float] = (0.7, 1.2),
        flip: float = 0.3,
        centre_shift: float = 40 / 480,
        crop: str = 'person',
        mean: tuple[float, float, float] = KINETICS_MEAN,
    ) -> None:
        """
        Read the annotations and see which images are there.

        :param task: detection, keypoints or association.
        :param split: train, val or test; as COCO keeps the truth of its test images to itself,
            test is val unless ``annotations`` names another file.
        :param root: Of the data set.
        :param size: Height and width of the network's input.
        :param fit: How an image of another aspect ratio meets ``size``: crop, pad or stretch.
        :param images: 1, or 0 for the truth alone, which needs no image files at all.
        :param history: 1, for photos have no frames before.
        :param history_seconds: Without meaning for one frame.
        :param annotations: Another file, relative to ``root``.
        :param images_dir: Another folder of images, relative to ``root``.
        :param min_keypoints: Somebody in the image has at least so many joints annotated; 4 for
            association, 0 for others.
        :param tiny_area: Joints of people whose segment is smaller, in pixels of the original, are
            left out of the mask.
        :param augment: Whether the images of the training split are augmented, as the settings
            that follow say; see :class:`FrameAugmentation`.
        :param mean: Colour around the image, RGB in [0, 1].
        :raises ValueError: If the annotations are not of this format, or no image is left.
        """
        if task not in LABELS:
            raise ValueError(f'task must be one of {tuple(LABELS)} with COCO, got {task!r}.')
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
        augmentation = FrameAugmentation(
            rotation_deg=rotation_deg,
            scale=scale,
            flip=flip,
            centre_shift=centre_shift,
            crop=crop,
            mean=mean,
        )
        self.task, self.split, self.labels = task, split, LABELS[task]
        self._reader = PhotoReader(
            size,
            fit,
            images=images,
            history=history,
            mean=mean,
            augmentation=augmentation if augment and split == 'train' else None,
        )
        year = _year(split, annotations)
        folder = Path(root).expanduser()
        path = folder / (annotations or f'annotations/person_keypoints_{year}.json')
        self._folder = folder / (images_dir or year)
        self._people = read_coco(path, min_area=tiny_area, needs_joints=task != 'detection')
        if min_keypoints is None:
            min_keypoints = MIN_KEYPOINTS[task]
        kept = _most_joints(self._people) >= min_keypoints
        if not kept.any():
            raise ValueError(f"'{path}': nobody has min_keypoints, {min_keypoints} joints.")
        if images:
            kept &= existing(self._people.names, self._folder)
        self._kept = np.flatnonzero(kept)
        if not len(self._kept):
            raise ValueError(
                f"'{self._folder}' holds no image in which somebody has min_keypoints, "
                f'{min_keypoints} joints.'
            )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> FrameSample:
        image, people = int(self._kept[index]), self._people
        rows = slice(*people.starts[image : image + 2].tolist())
        height, width = people.sizes[image].tolist()
        photo = Photo(
            path=self._folder / people.names[image],
            image_id=int(people.image_ids[image]),
            size=(height, width),
            boxes=people.boxes[rows],
            keypoints=people.keypoints[rows],
            areas=people.areas[rows],
            activities=np.full(rows.stop - rows.start, UNKNOWN, np.int64),
            is_crowd=people.is_crowd[rows],
            mask=people.mask(image),
        )
        return self._reader(photo, index)

    def groups(self) -> list[int]:
        """Return of every sample the group that must not be divided: its image."""
        return [int(image_id) for image_id in self._people.image_ids[self._kept]]

    def describe(self, index: int) -> str:
        """Return the file of a sample."""
        return str(self._folder / self._people.names[int(self._kept[index])])


def _year(split: str, annotations: str | None) -> str:
    if split == 'test' and annotations is None:
        _LOGGER.warning(
            'COCO keeps the annotations of its test images to itself: val stands in for test. '
            'Settings annotations and images_dir name others.'
        )
        return 'val2017'
    return f'{split}2017'


def _most_joints(people: CocoPeople) -> np.ndarray:
    """Return how many joints the person of each image has who has the most of them, ``[N]``."""
    counts = (people.keypoints[..., 2] > 0).sum(1) * ~people.is_crowd
    return np.maximum.reduceat(counts, people.starts[:-1])
