"""Rotated, scaled, shifted and mirrored training images of people."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

from mtl_perception.network.config import KINETICS_MEAN
from mtl_training.data.frame_geometry import warp_sample
from mtl_training.data.frame_sample import FrameSample
import numpy as np
import torch
from torch import Tensor

CROPS = ('image', 'person')


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameAugmentation:
    """
    One random affine map of all images of a sample and of their truth.

    As MultiPoseNet (Kocabas et al., ECCV 2018) and its successors augment COCO: the middle of the
    crop is that of the main person, the largest, who fills a given share of its height. Mirrored
    is left to right, with left and right joints exchanged.
    """

    rotation_deg: float = 40.0  # at most, either way
    scale: tuple[float, float] = (0.7, 1.2)
    flip: float = 0.3  # how likely an image is mirrored
    centre_shift: float = 40 / 480  # at most, along either axis, as a share of the input's side
    crop: str = 'image'  # around the middle of the image, or around the main 'person'
    person_height: float = 0.6  # of the crop, before `scale`; a person's longer side counts
    max_zoom: float = 4.0  # of a crop around a small person, before `scale`
    mean: tuple[float, float, float] = KINETICS_MEAN  # colour around the image, RGB in [0, 1]

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_deg <= 180:
            raise ValueError(f'rotation_deg must be from 0 to 180, got {self.rotation_deg}.')
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] < float('inf')):
            raise ValueError(f'scale must be two positive numbers, low first, got {self.scale}.')
        if not 0 <= self.flip <= 1:
            raise ValueError(f'flip must be a probability, got {self.flip}.')
        if not 0 <= self.centre_shift <= 1:
            raise ValueError(f'centre_shift must be from 0 to 1, got {self.centre_shift}.')
        if self.crop not in CROPS:
            raise ValueError(f'crop must be one of {CROPS}, got {self.crop!r}.')
        if not 0 < self.person_height < float('inf'):
            raise ValueError(f'person_height must be positive, got {self.person_height}.')
        if not 0 < self.max_zoom < float('inf'):
            raise ValueError(f'max_zoom must be positive, got {self.max_zoom}.')

    def __call__(self, sample: FrameSample, rng: np.random.Generator) -> FrameSample:
        """
        Return a sample whose images and truth have moved together.

        For images that have the network's size. A data set that still has the original resamples
        only once with :meth:`draw` and :func:`~mtl_training.data.frame_geometry.warp_sample`.
        """
        # A sample without pixels still has their size.
        size = (int(sample.images.shape[1]), int(sample.images.shape[2]))
        return warp_sample(sample, self.draw(sample, size, rng), size, mean=self.mean)

    def draw(self, sample: FrameSample, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
        """
        Draw a map from pixels of the network's input to pixels of it.

        :param sample: Whose people are in pixels of the input; its images are not looked at.
        :param size: Height and width of the input.
        :return: float64 ``[2, 3]``.
        """
        angle = radians(rng.uniform(-self.rotation_deg, self.rotation_deg))
        zoom = rng.uniform(*self.scale)
        side = -1.0 if rng.random() < self.flip else 1.0
        shift = rng.uniform(-self.centre_shift, self.centre_shift, 2) * size[::-1]
        middle = (np.array(size[::-1]) - 1) / 2
        person = _main_person(sample) if self.crop == 'person' else None
        focus = middle
        if person is not None:
            focus = (person[:2] + person[2:]) / 2
            longer = (person[2:] - person[:2]).max()
            zoom *= min(self.max_zoom, self.person_height * size[0] / longer)
        rotation = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        linear = zoom * rotation * [side, 1.0]
        offset = middle + shift - linear @ focus
        return torch.from_numpy(np.column_stack([linear, offset]))


def _main_person(sample: FrameSample) -> np.ndarray | None:
    """Return the box of the largest person of the newest frame, if anybody is there."""
    boxes = sample.boxes[:, -1].double().numpy()
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1) * ~sample.is_crowd.numpy()
    return boxes[sizes.argmax()] if len(sizes) and sizes.max() > 0 else None
