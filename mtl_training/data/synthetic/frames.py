"""A data set of annotated frames of rendered scenes, for all tasks that look at people."""

from collections.abc import Sequence
from pathlib import Path

from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training.data.frame_augmentation import FrameAugmentation
from mtl_training.data.frame_sample import FrameSample, MASK_STRIDE
from mtl_training.data.synthetic.augmentation import recoloured
from mtl_training.data.synthetic.cache import load_or_render
from mtl_training.data.synthetic.clips import scene_seed
from mtl_training.data.synthetic.frame_scenes import (
    check_history,
    FramePixels,
    FrameScenes,
    FrameTruths,
)
from mtl_training.data.synthetic.labels import ACTIVITIES
from mtl_training.data.synthetic.scene import Scene
import numpy as np
from numpy.typing import NDArray
import torch

FRAME_LABELS: dict[str, tuple[str, ...]] = {
    'detection': ('person',),
    'keypoints': KEYPOINTS,
    'association': KEYPOINTS,
    'activity': ACTIVITIES,
}
_FITS = ('pad', 'crop', 'stretch')
_FEWEST_JOINTS, _LOWEST_BOX = 3, 8  # below, nobody could tell that this is a person; pixels
_VISIBLE = 2


class SyntheticFrames(torch.utils.data.Dataset[FrameSample]):
    """
    Frames of scenes rendered here, one scene each, with the truth of everybody in them.

    Tasks of equal settings see the same frames, from one cache. Frames are rendered at twice the
    size and reduced as the robot reduces its images. ``areas`` count the pixels that show a
    person. People of whom hardly anything is seen are crowds: fewer than 3 joints inside the
    image, a box less than 8 pixels high, or no joint that is not hidden. Joints outside the image
    lie at (0, 0), as in COCO.
    """

    def __init__(
        self,
        task: str,
        split: str = 'train',
        num_images: int = 1000,
        *,
        seed: int = 0,
        size: tuple[int, int] = (192, 256),
        fit: str = 'stretch',
        images: int = 1,
        history: int = 1,
        history_seconds: float = 0.8,
        cache_dir: str | Path | None = None,
        workers: int = 0,
        augment: bool = False,
        rotation_deg: float = 20.0,
        scale: Sequence[float] = (0.8, 1.2),
        flip: float = 0.5,
    ) -> None:
        """
        Describe the data set, and render it where there is a cache that lacks it.

        :param task: ``'detection'``, ``'keypoints'``, ``'association'`` or ``'activity'``; says
            only what the labels are.
        :param split: ``'train'``, ``'val'`` or ``'test'``.
        :param num_images: How many.
        :param seed: Another seed gives other people, cameras and backgrounds.
        :param size: Height and width, pixels; multiples of 4.
        :param fit: How other images meet the network's input; these are rendered at its size.
        :param images: Frames of pixels per sample: 0, 1 (the newest) or ``history``.
        :param history: Frames of truth per sample, evenly spread over ``history_seconds``.
        :param cache_dir: Folder for frames and truth; without it they are rendered when asked.
        :param workers: Processes that fill the cache; 0 renders in this one.
        :param augment: Vary light, colour and geometry anew whenever a sample is asked for, from
            torch's random state.
        :param rotation_deg: Of augmented images, at most; ``scale`` and ``flip`` likewise are
            those of :class:`~mtl_training.data.frame_augmentation.FrameAugmentation`.
        :raises ValueError: If an argument is unknown or out of range.
        """
        _check(task, num_images, size, fit, images, history)
        check_history(history, history_seconds)
        scene_seed(split, seed, 0)
        self.task = task
        self.labels = FRAME_LABELS[task]
        self._geometry = FrameAugmentation(
            rotation_deg=rotation_deg,
            scale=tuple(scale),  # type: ignore[arg-type]
            flip=flip,
        )
        self.augment = augment
        self.size = (int(size[0]), int(size[1]))
        scenes = FrameScenes(split, num_images, seed, self.size)
        self._scenes = scenes
        self._pixels = FramePixels(scenes, images, float(history_seconds))
        self._truths = FrameTruths(scenes, history, float(history_seconds))
        self._cached_pixels: NDArray[np.uint8] | None = None
        self._cached_truths: NDArray[np.float32] | None = None
        if cache_dir is not None:
            folder = Path(cache_dir)
            self._cached_truths = load_or_render(
                folder, self._truths.name, self._truths, workers, np.float32
            )
            if images:
                self._cached_pixels = load_or_render(
                    folder, self._pixels.name, self._pixels, workers
                )

    def __len__(self) -> int:
        """Return the number of images."""
        return self._scenes.num_images

    def __getitem__(self, index: int) -> FrameSample:
        """Return one sample."""
        if not 0 <= index < len(self):
            raise IndexError(f'index must be from 0 to {len(self) - 1}, got {index}.')
        sample = self._sample(index, self._images(index))
        if not self.augment:
            return sample
        rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        sample = self._geometry(sample, rng)
        if len(sample.images) == 0:
            return sample
        return sample._replace(images=torch.from_numpy(recoloured(sample.images.numpy(), rng)))

    def scene(self, index: int) -> Scene:
        """Return the scene of one sample."""
        return self._scenes.scene(index)

    def describe(self, index: int) -> str:
        """Return the seed of the scene of one sample, and what its caption says."""
        scene = self.scene(index)
        return f'scene {scene.seed}, {scene.caption}'

    def _images(self, index: int) -> NDArray[np.uint8]:
        if self._pixels.num_frames == 0:
            return np.empty(self._pixels.shape[1:], np.uint8)
        if self._cached_pixels is None:
            return self._pixels.render(index)
        return np.array(self._cached_pixels[index])

    def _sample(self, index: int, images: NDArray[np.uint8]) -> FrameSample:
        rows = self._truths.render(index) if self._cached_truths is None else np.array(
            self._cached_truths[index]
        )  # fmt: skip
        truth = self._truths.unpack(rows)
        in_picture = truth.boxes[:, -1].any(-1)
        boxes, keypoints = truth.boxes[in_picture], truth.keypoints[in_picture]
        keypoints = keypoints * (keypoints[..., 2:] > 0)
        is_crowd = _hardly_seen(boxes[:, -1], keypoints[:, -1])
        return FrameSample(
            images=torch.from_numpy(images),
            boxes=torch.from_numpy(boxes),
            keypoints=torch.from_numpy(keypoints),
            areas=torch.from_numpy(truth.areas[in_picture]),
            activities=torch.from_numpy(truth.activities[in_picture, -1].astype(np.int64)),
            is_crowd=torch.from_numpy(is_crowd),
            mask=torch.from_numpy(~_covered(boxes[is_crowd, -1], self.size)),
            transform=torch.eye(2, 3),
            size=self.size,
            image_id=index,
            index=index,
        )


def _hardly_seen(boxes: NDArray[np.float32], keypoints: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell of whom too little is seen, ``[P]``, from boxes ``[P, 4]``, joints ``[P, 17, 3]``."""
    visibility = keypoints[..., 2]
    few = (visibility > 0).sum(-1) < _FEWEST_JOINTS
    low = boxes[:, 3] - boxes[:, 1] < _LOWEST_BOX
    hidden = (visibility != _VISIBLE).all(-1)
    return few | low | hidden  # type: ignore[no-any-return]


def _covered(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which cells of a mask have their centre in one of the boxes, ``[P, 4]``."""
    ys, xs = (
        np.arange(side // MASK_STRIDE) * MASK_STRIDE + (MASK_STRIDE - 1) / 2 for side in size
    )
    left, top, right, bottom = boxes.T[..., None]
    columns = (xs >= left) & (xs <= right)
    rows = (ys >= top) & (ys <= bottom)
    return (rows[:, :, None] & columns[:, None, :]).any(0)  # type: ignore[no-any-return]


def _check(
    task: str, num_images: int, size: tuple[int, int], fit: str, images: int, history: int
) -> None:
    if task not in FRAME_LABELS:
        raise ValueError(f"task must be one of {sorted(FRAME_LABELS)}, got '{task}'.")
    if num_images < 1:
        raise ValueError(f'num_images must be positive, got {num_images}.')
    if min(size) < 8 or size[0] % MASK_STRIDE or size[1] % MASK_STRIDE:
        raise ValueError(
            f'size must be multiples of {MASK_STRIDE} from 8, got {size[0]}x{size[1]}.'
        )
    if fit not in _FITS:
        raise ValueError(f"fit must be one of {_FITS}, got '{fit}'.")
    if images not in (0, 1, history):
        raise ValueError(f'images must be 0, 1 or history ({history}), got {images}.')
