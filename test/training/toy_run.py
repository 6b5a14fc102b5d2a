"""
The command line of ``mtl_training`` with data sets that cost nothing.

Clips show moving squares, frames show people who are rectangles.

Run as a script by the tests that need real processes; loaded as a module by the others.
"""

import sys
import time

from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training import cli
from mtl_training.data.clip_sets import DATASETS
from mtl_training.data.frame_sample import FrameSample
from mtl_training.data.loading import FRAME_DATASETS
from mtl_training.data.sample import ClipSample
import numpy as np
import torch

LABELS = ('left', 'right', 'still')


class ToyClips:
    """A bright square on noise that moves left, right or not at all, at a height that varies."""

    def __init__(
        self, task, split, *, num_clips: int = 24, num_frames, clip_seconds, size, slow_sec=0.0,
        steady=False,
    ) -> None:  # fmt: skip
        self._steady, self.varies = steady, not steady
        self.task, self.labels = task, LABELS
        self._split, self._num_clips, self._slow_sec = split, num_clips, slow_sec
        self._num_frames, self._size = num_frames, size

    def __len__(self) -> int:
        return self._num_clips

    def __getitem__(self, index: int) -> ClipSample:
        time.sleep(self._slow_sec)
        generator = np.random.default_rng([index, len(self._split), len(self.task)])
        label = index % len(LABELS)
        height, width = self._size
        frames = generator.integers(0, 60, (self._num_frames, height, width, 3), np.uint8)
        # Drawn from the global generator, as augmentations of data sets may be.
        top = 0 if self._steady else int(torch.randint(0, height - 4, ()))
        for step in range(self._num_frames):
            shift = round((width - 4) * step / (self._num_frames - 1))
            left = (width - 4 - shift, shift, width // 2 - 2)[label]
            frames[step, top : top + 4, left : left + 4] = 220
        return ClipSample(torch.from_numpy(frames), label, index)


ACTIVITIES = ('still', 'moving')


class ToyFrames:
    """Frames of one to three bright rectangles with joints; those who move do so to the right."""

    def __init__(
        self, task, split, *, num_images: int = 8, size, fit='pad', images=1, history=1,
        history_seconds=0.8, augment=False,
    ) -> None:  # fmt: skip
        self.task = task
        self.labels = {'detection': ('person',), 'activity': ACTIVITIES}.get(task, KEYPOINTS)
        self.num_images, self.size, self.images, self.history = num_images, size, images, history
        self._split = split

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> FrameSample:
        generator = np.random.default_rng([index, len(self._split)])
        height, width = self.size
        count, frames = int(generator.integers(1, 4)), self.history
        activities = generator.integers(0, 2, count)
        low = generator.uniform([2, 2], [width / 2, height / 4], (count, 2))
        sides = generator.uniform([width / 6, height / 2], [width / 4, height / 1.5], (count, 2))
        shifts = np.linspace(-8, 0, frames)[None, :, None] * [1, 0] * activities[:, None, None]
        corner = low[:, None] + shifts
        boxes = np.concatenate([corner, corner + sides[:, None]], -1).clip(0, [width, height] * 2)
        places = generator.uniform(0, 1, (count, 1, 17, 2))
        joints = corner[:, :, None] + places * sides[:, None, None]
        seen = (joints >= 0).all(-1) & (joints <= [width - 1, height - 1]).all(-1)
        keypoints = np.concatenate([joints, 2 * seen[..., None]], -1) * seen[..., None]
        pixels = generator.integers(0, 60, (frames, height, width, 3), np.uint8)
        for person, frame in np.ndindex(count, frames):
            left, top, right, bottom = boxes[person, frame].astype(int)
            pixels[frame, top:bottom, left:right] = 220
        chosen = pixels[frames - self.images :] if self.images else pixels[:0]
        return FrameSample(
            images=torch.from_numpy(chosen.copy()),
            boxes=torch.from_numpy(boxes).float(),
            keypoints=torch.from_numpy(keypoints).float(),
            areas=torch.from_numpy((boxes[..., 2:] - boxes[..., :2]).prod(-1)).float(),
            activities=torch.from_numpy(activities),
            is_crowd=torch.zeros(count, dtype=torch.bool),
            mask=torch.ones(height // 4, width // 4, dtype=torch.bool),
            transform=torch.eye(2, 3),
            size=(height, width),
            image_id=index,
            index=index,
        )


DATASETS['toy'] = ToyClips
FRAME_DATASETS['toy'] = ToyFrames

if __name__ == '__main__':
    sys.exit(cli.main())
