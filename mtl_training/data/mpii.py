"""What people do in photos: MPII Human Pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
import logging
from pathlib import Path
from zlib import crc32

from mtl_perception.network.config import KINETICS_MEAN
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training.data.frame_augmentation import FrameAugmentation
from mtl_training.data.frame_sample import FrameSample, UNKNOWN
from mtl_training.data.mpii_annotations import MpiiImage, read_mpii
from mtl_training.data.photos import existing, jpeg_size, Photo, PhotoReader, SPLITS
import numpy as np
from numpy.typing import NDArray

TASKS = ('activity', 'keypoints', 'association')
# Names of MPII's activities and categories, which are those of a compendium of physical
# activities (Ainsworth et al., 2011), as in "standing, packing boxes" of category "occupation".
ACTIVITIES: dict[str, list[str]] = {
    'walking': ['walking*'],
    'running': ['running*', 'jogging*'],
    'sitting': ['sitting*'],
    'standing': ['standing*'],
}
SHARES = {'train': 0.7, 'val': 0.15, 'test': 0.15}
# A person's segment as a share of their box, as it is on average in COCO; MPII has no segments.
SEGMENT_SHARE = 0.5
PLACES = ('mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat', 'mpii_human_pose_v1_u12_1.mat')
_LOGGER = logging.getLogger(__name__)


class MpiiActivities:
    """
    MPII Human Pose (Andriluka et al., CVPR 2014): ``<root>/images/*.jpg`` and its .mat file.

    An activity is that of an image, of all of its people alike, so where there are several it is
    a guess for each of them; by default such images are left out. Of the 17 joints 12 are
    annotated: eyes, ears and nose are not, and the mask leaves out the head. Not everybody in an
    image is annotated, so detection can't be learnt from it, and heatmaps are taught that those
    who are not annotated are background. The images that have annotations,
    MPII's training set, are split 70/15/15 by video, whatever the settings.
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
        images_dir: str = 'images',
        activities: dict[str, list[str]] | None = None,
        single_person: bool = True,
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

        :param task: activity, keypoints or association.
        :param split: train, val or test.
        :param root: Of the data set.
        :param size: Height and width of the network's input.
        :param fit: How an image of another aspect ratio meets ``size``: crop, pad or stretch.
        :param images: 1, or 0 for the truth alone; of the files, the headers are read even then.
        :param history: 1, for photos have no frames before.
        :param history_seconds: Without meaning for one frame.
        :param annotations: The .mat file, relative to ``root``.
        :param images_dir: Folder of the images, relative to ``root``.
        :param activities: The labels, and of each the patterns (``*`` and ``?``) of those names of
            activities or categories that it stands for; see ACTIVITIES. An image of none or of
            several labels is left out of the activity task.
        :param single_person: Leave out images of several people.
        :param augment: Whether the images of the training split are augmented, as the settings
            that follow say; see :class:`FrameAugmentation`.
        :param mean: Colour around the image, RGB in [0, 1].
        :raises ValueError: If the annotations are not of this format, or no image is left.
        """
        if task not in TASKS:
            raise ValueError(f'task must be one of {TASKS} with MPII, got {task!r}.')
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
        patterns = _checked(ACTIVITIES if activities is None else activities)
        augmentation = FrameAugmentation(
            rotation_deg=rotation_deg,
            scale=scale,
            flip=flip,
            centre_shift=centre_shift,
            crop=crop,
            mean=mean,
        )
        self.task, self.split = task, split
        self.labels = tuple(patterns) if task == 'activity' else KEYPOINTS
        self._reads_pixels = bool(images)
        self._reader = PhotoReader(
            size,
            fit,
            images=images,
            history=history,
            mean=mean,
            augmentation=augmentation if augment and split == 'train' else None,
        )
        folder = Path(root).expanduser()
        path = _annotations(folder, annotations)
        self._folder = folder / images_dir
        chosen = _of_split(read_mpii(path), split)
        if single_person:
            chosen = [image for image in chosen if len(image.people) == 1]
        self._labels = {image.number: _label(image, patterns) for image in chosen}
        if task == 'activity':
            chosen = [image for image in chosen if self._labels[image.number] != UNKNOWN]
        if not chosen:
            raise ValueError(f"'{path}' has no image for task '{task}' in split '{split}'.")
        found = existing([image.name for image in chosen], self._folder)
        self.images = [image for image, there in zip(chosen, found) if there]
        if task == 'activity':
            self._warn_of_unseen()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> FrameSample:
        image = self.images[index]
        path = self._folder / image.name
        size = jpeg_size(path)
        people, boxes = image.people, np.stack([person.box for person in image.people])
        keypoints = np.stack([person.keypoints for person in people])
        # Without joints a box is a guess, good enough for nothing but looking away.
        is_crowd = (keypoints[..., 2] == 0).all(1)
        label = self._labels[image.number]
        photo = Photo(
            path=path,
            image_id=image.number,
            size=size,
            boxes=boxes,
            keypoints=keypoints,
            areas=SEGMENT_SHARE * (boxes[:, 2:] - boxes[:, :2]).prod(1),
            activities=np.where(is_crowd, UNKNOWN, label).astype(np.int64),
            is_crowd=is_crowd,
            mask=_mask(np.stack([person.unannotated for person in people]), size),
        )
        return self._reader(photo, index)

    def groups(self) -> list[int]:
        """Return of every sample the group that must not be divided: its video."""
        return [image.video for image in self.images]

    def describe(self, index: int) -> str:
        """Return the file of a sample."""
        return str(self._folder / self.images[index].name)

    def _warn_of_unseen(self) -> None:
        seen = {self._labels[image.number] for image in self.images}
        if unseen := [name for i, name in enumerate(self.labels) if i not in seen]:
            _LOGGER.warning("Split '%s' of MPII has no image of %s.", self.split, unseen)


def _checked(activities: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    if not activities:
        raise ValueError('activities must name at least one label, got none.')
    for label, patterns in activities.items():
        if isinstance(patterns, str) or not patterns:
            raise ValueError(
                f"activities must have a list of patterns for '{label}', got {patterns!r}."
            )
    return dict(activities)


def _annotations(folder: Path, annotations: str | None) -> Path:
    places = PLACES if annotations is None else (annotations,)
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise ValueError(f"'{folder}' must hold one of {list(places)}, and a folder of images.")


def _of_split(images: Sequence[MpiiImage], split: str) -> list[MpiiImage]:
    """Return the images of a split, cut between videos in an order that has no meaning."""
    counts: dict[int, int] = {}
    for image in images:
        counts[image.video] = counts.get(image.video, 0) + 1
    videos = sorted(counts, key=lambda video: (crc32(str(video).encode()), video))
    middles = [
        (total - counts[video] / 2) / len(images)
        for video, total in zip(videos, accumulate(counts[video] for video in videos))
    ]
    first_val, first_test = SHARES['train'], SHARES['train'] + SHARES['val']
    splits = {
        video: SPLITS[(middle >= first_val) + (middle >= first_test)]
        for video, middle in zip(videos, middles)
    }
    return [image for image in images if splits[image.video] == split]


def _label(image: MpiiImage, activities: Mapping[str, Sequence[str]]) -> int:
    """Return the only label of an image, or UNKNOWN."""
    names = (image.activity.lower(), image.category.lower())
    matching = [
        label
        for label, patterns in enumerate(activities.values())
        if any(fnmatchcase(name, pattern.lower()) for name in names for pattern in patterns)
    ]
    return matching[0] if len(matching) == 1 else UNKNOWN


def _mask(regions: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels of an image that are in none of some boxes."""
    mask = np.ones(size, bool)
    limits = np.array([size[1], size[0]] * 2)
    for left, top, right, bottom in np.rint(regions.clip(0, limits)).astype(int).tolist():
        mask[top : bottom + 1, left : right + 1] = False
    return mask
