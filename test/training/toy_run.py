"""
The command line of ``mtl_training`` with a data set that costs nothing: moving squares.

Run as a script by the tests that need real processes; loaded as a module by the others.
"""

import sys
import time

from mtl_training import cli
from mtl_training.data.loading import DATASETS
from mtl_training.data.sample import ClipSample
import numpy as np
import torch

LABELS = ('left', 'right', 'still')


class ToyClips:
    """A bright square on noise that moves left, right or not at all; `random` draws its height."""

    def __init__(
        self, task, split, *, num_clips: int = 24, num_frames, clip_seconds, size, slow_sec=0.0
    ) -> None:
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
        top = int(torch.randint(0, height - 4, ()))
        for step in range(self._num_frames):
            shift = round((width - 4) * step / (self._num_frames - 1))
            left = (width - 4 - shift, shift, width // 2 - 2)[label]
            frames[step, top : top + 4, left : left + 4] = 220
        return ClipSample(torch.from_numpy(frames), label, index)


DATASETS['toy'] = ToyClips

if __name__ == '__main__':
    sys.exit(cli.main())
