"""A data set of rendered clips, balanced over the labels of one task."""

from pathlib import Path
from zlib import crc32

import cv2
from mtl_training.data.sample import ClipSample
from mtl_training.data.synthetic.augmentation import augmented
from mtl_training.data.synthetic.cache import load_or_render
from mtl_training.data.synthetic.labels import (
    BACKGROUND,
    BACKGROUND_LABELS,
    FLIP_LABELS,
    TASK_LABELS,
)
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.rendering import render, RENDERER_VERSION
from mtl_training.data.synthetic.scene import Scene, scene_rng
from mtl_training.data.synthetic.shapes import Image
import numpy as np
import torch

# Scenes of different splits never share a seed, and so no person, camera or background.
SPLITS: tuple[str, ...] = ('train', 'val', 'test', 'stream')
MAX_SEED = 2**24
_MAX_SCENES = 2**32
# Cameras deliver frames at these rates; a clip takes those nearest to its even times.
_FRAME_RATES = (10.0, 15.0, 20.0, 25.0, 30.0, 60.0)
OVERSAMPLING = 2
_CLIP_LABELS = {**TASK_LABELS, BACKGROUND: BACKGROUND_LABELS}


def scene_seed(split: str, seed: int, index: int) -> int:
    """
    Return the seed of one scene of a split; all are different.

    :param split: One of :data:`SPLITS`.
    :param seed: Of the data set or stream, below :data:`MAX_SEED`.
    :param index: Of the scene.
    :raises ValueError: If an argument is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got '{split}'.")
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f'seed must be from 0 to {MAX_SEED - 1}, got {seed}.')
    if not 0 <= index < _MAX_SCENES:
        raise ValueError(f'index must be from 0 to {_MAX_SCENES - 1}, got {index}.')
    return (seed * len(SPLITS) + SPLITS.index(split)) * _MAX_SCENES + index


def balanced_labels(labels: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """Return shuffled labels, each as often as the others to within one."""
    rounds = [rng.permutation(len(labels)) for _ in range(-(-count // len(labels)))]
    return [labels[i] for i in np.concatenate([*rounds, np.empty(0, int)])[:count]]


class SyntheticClips(torch.utils.data.Dataset[ClipSample]):
    """
    Clips of scenes rendered here, one each, showing the labelled motion nearly whole.

    Frames are rendered at twice the size and reduced as the robot reduces its images. The clips
    depend on nothing but the arguments; ``workers`` only says how many processes render them.
    """

    def __init__(
        self,
        task: str,
        split: str = 'train',
        num_clips: int = 1000,
        *,
        seed: int = 0,
        num_frames: int = 16,
        clip_seconds: float = 2.0,
        size: tuple[int, int] = (64, 86),
        cache_dir: str | Path | None = None,
        workers: int = 0,
        augment: bool = False,
    ) -> None:
        """
        Describe the data set, and render it where there is a cache that lacks it.

        :param task: ``'action'``, ``'gesture'``, or ``'nothing'``: idle people and empty places,
            clips that belong to no task.
        :param split: ``'train'``, ``'val'`` or ``'test'``.
        :param num_clips: How many; labels are balanced to within one.
        :param seed: Another seed gives other people, cameras and backgrounds.
        :param num_frames: Frames per clip, spread evenly over ``clip_seconds``.
        :param size: Height and width, pixels.
        :param cache_dir: Folder for the rendered clips; without it, clips are rendered when asked.
        :param workers: Processes that fill the cache; 0 renders in this one.
        :param augment: Vary mirror, crop, light and colour anew whenever a clip is asked for, from
            torch's random state.
        :raises ValueError: If an argument is unknown or out of range.
        """
        if task not in _CLIP_LABELS:
            raise ValueError(f"task must be one of {sorted(_CLIP_LABELS)}, got '{task}'.")
        if num_clips < 1 or num_frames < 1:
            raise ValueError(
                f'num_clips and num_frames must be positive, got {num_clips} and {num_frames}.'
            )
        if not 0 < clip_seconds <= 3.0:
            raise ValueError(f'clip_seconds must be in (0, 3], got {clip_seconds}.')
        self.task = task
        self.labels = _CLIP_LABELS[task]
        self.split = split
        self.seed = seed
        self.num_frames = num_frames
        self.clip_seconds = float(clip_seconds)
        self.size = (int(size[0]), int(size[1]))
        self.augment = augment
        number = list(_CLIP_LABELS).index(task)
        order = np.random.default_rng([scene_seed(split, seed, 0), number])
        self._targets = [
            self.labels.index(label) for label in balanced_labels(self.labels, num_clips, order)
        ]
        self._frames: Image | None = None
        if cache_dir is not None:
            self._frames = load_or_render(Path(cache_dir), self.name(), self, workers)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._targets)

    def __getitem__(self, index: int) -> ClipSample:
        """Return one clip."""
        frames, flipped = self.varied(self.plain(index)[0], may_mirror=True)
        target = self._targets[index]
        if flipped:
            label = self.labels[target]
            target = self.labels.index(FLIP_LABELS.get(label, label))
        return ClipSample(torch.from_numpy(frames), target, index)

    def plain(self, index: int) -> tuple[Image, int]:
        """Return the frames of a clip before they are varied, and the number of the clip."""
        if not 0 <= index < len(self):
            raise IndexError(f'index must be from 0 to {len(self) - 1}, got {index}.')
        frames = self.render(index) if self._frames is None else np.array(self._frames[index])
        return frames, index

    def varied(self, frames: Image, *, may_mirror: bool) -> tuple[Image, bool]:
        """Return another clip that shows the same, and whether it is mirrored, if varied."""
        if not self.augment:
            return frames, False
        rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        return augmented(frames, rng, may_mirror=may_mirror)

    @property
    def varies(self) -> bool:
        """Tell whether clips are others whenever they are asked for."""
        return self.augment

    def counts(self) -> list[int]:
        """Return the number of clips of each label."""
        return np.bincount(self._targets, minlength=len(self.labels)).tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all frames, ``(N, T, H, W, 3)``."""
        return (len(self), self.num_frames, *self.size, 3)

    def scene(self, index: int) -> Scene:
        """Return the scene of one clip."""
        label = self.labels[self._targets[index]]
        if self.task == BACKGROUND:
            # Counted from the end: the scenes of the tasks must not depend on there being others.
            seed = scene_seed(self.split, self.seed, _MAX_SCENES - 1 - index)
            return Scene.sample(seed, num_people=0 if label == 'empty' else None)
        # Action and gesture clips of one index are different scenes, too.
        place = index * len(TASK_LABELS) + list(TASK_LABELS).index(self.task)
        return Scene.sample(scene_seed(self.split, self.seed, place), label=label)

    def describe(self, index: int) -> str:
        """Return the seed of the scene of one clip, and what is performed in it."""
        scene = self.scene(index)
        return f'scene {scene.seed}, {self.labels[self._targets[index]]}'

    def times(self, index: int) -> Array:
        """Return when the frames of one clip were taken, seconds from the start of its scene."""
        scene = self.scene(index)
        rng = scene_rng(scene.seed, 'window')
        start = scene.window(rng, self.clip_seconds)
        even = np.linspace(start, start + self.clip_seconds, self.num_frames)
        rate = float(rng.choice(_FRAME_RATES))
        offset = rng.uniform(0, 1 / rate)
        return np.round((even - offset) * rate) / rate + offset

    def render(self, index: int) -> Image:
        """Return the frames of one clip without augmentation, uint8 ``[T, H, W, 3]``."""
        large = (self.size[0] * OVERSAMPLING, self.size[1] * OVERSAMPLING)
        frames = render(self.scene(index), self.times(index), large).frames
        return np.stack([halved(frame) for frame in frames])

    def name(self) -> str:
        """Return the name of the clips in a cache, which says all that they depend on."""
        # The labels decide what is performed: in another order, other clips.
        labels = f'{crc32(repr(self.labels).encode()):08x}'
        parts = [
            'synthetic', self.task, labels, self.split, f'{len(self)}x{self.num_frames}',
            f'{self.size[0]}x{self.size[1]}', f'{self.clip_seconds}s', f'seed{self.seed}',
            f'v{RENDERER_VERSION}',
        ]  # fmt: skip
        return '-'.join(parts)


def halved(image: Image) -> Image:
    """Halve an image with the triangle filter of antialiased bilinear interpolation."""
    taps = np.array([1, 3, 3, 1], np.float32) / 8
    smooth = cv2.sepFilter2D(image, -1, taps, taps, anchor=(1, 1), borderType=cv2.BORDER_REPLICATE)
    return smooth[::OVERSAMPLING, ::OVERSAMPLING]  # type: ignore[return-value]
