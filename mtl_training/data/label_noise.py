"""Wrong labels on purpose, to see what training makes of them."""

from __future__ import annotations

from zlib import crc32

from mtl_training.data.sample import ClipDataset, ClipSample, describe, varies
import numpy as np
import torch
from torch import Tensor


class NoisyLabels:
    """
    A data set in which a fixed share of the labels is wrong.

    Each wrong label is a fixed number of places away from the right one, so it also stays wrong
    where augmentation changes the right one, as a mirror does. Where it does, the mirrored clip
    gets another wrong label than the clip itself, and not its mirror image: such noise is harder
    to learn by heart, and so easier to find, than errors of people, which are consistent.
    """

    def __init__(self, dataset: ClipDataset, share: float, *, seed: int = 0) -> None:
        """
        Choose the samples and their wrong labels.

        :param dataset: With the right labels.
        :param share: Of samples that get another label, rounded to whole samples.
        :param seed: Of the choice, which is another one in each task.
        :raises ValueError: If there is no other label.
        """
        num_samples, num_labels = len(dataset), len(dataset.labels)
        if num_labels < 2:
            raise ValueError(
                f"label_noise of task '{dataset.task}' needs another label to give, "
                f'its labels are {list(dataset.labels)}.'
            )
        self.task, self.labels = dataset.task, dataset.labels
        self.dataset = dataset
        rng = np.random.default_rng([seed, crc32(self.task.encode())])
        chosen = rng.choice(num_samples, round(share * num_samples), replace=False)
        self._shifts = np.zeros(num_samples, np.int64)
        self._shifts[chosen] = rng.integers(1, num_labels, len(chosen))

    @property
    def varies(self) -> bool:
        """Tell whether its clips are others whenever they are asked for."""
        return varies(self.dataset)

    @property
    def corrupted(self) -> Tensor:
        """Tell which samples have a wrong label, bool ``[N]``."""
        return torch.from_numpy(self._shifts > 0)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> ClipSample:
        sample = self.dataset[index]
        label = (sample.label + int(self._shifts[index])) % len(self.labels)
        return sample._replace(label=label)

    def describe(self, index: int) -> str:
        """Return where a clip came from."""
        return describe(self.dataset, index)
