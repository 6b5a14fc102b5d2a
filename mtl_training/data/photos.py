"""From an annotated photo to a sample, as the robot would see it or augmented."""

from __future__ import annotations

from collections.abc import Sequence
import logging
from pathlib import Path
import random
import struct
from typing import BinaryIO, NamedTuple

import cv2
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.frame_augmentation import FrameAugmentation
from mtl_training.data.frame_geometry import compose, warp_sample, warp_truth
from mtl_training.data.frame_sample import FrameSample
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

SPLITS = ('train', 'val', 'test')
# Segments of the JPEG format that hold the size: SOF0 to SOF15 but for DHT, JPG and DAC.
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOGGER = logging.getLogger(__name__)


class Photo(NamedTuple):
    """A photo and its people, in its own pixels; (0, 0) is the centre of the first one."""

    path: Path
    image_id: int
    size: tuple[int, int]  # height and width
    boxes: NDArray[np.float32]  # [P, 4], xyxy
    keypoints: NDArray[np.float32]  # [P, 17, 3]
    areas: NDArray[np.float32]  # [P]
    activities: NDArray[np.int64]  # [P]
    is_crowd: NDArray[np.bool_]  # [P]
    mask: NDArray[np.bool_]  # [H, W], False where joints have no annotation


class PhotoReader:
    """
    Make samples of photos.

    Without augmentation an image goes through the very resize of the robot; with it, one affine
    map leads from the original's pixels to the network's, so nothing is resampled twice.
    """

    def __init__(
        self,
        size: tuple[int, int],
        fit: str,
        *,
        images: int = 1,
        history: int = 1,
        mean: tuple[float, float, float],
        augmentation: FrameAugmentation | None = None,
    ) -> None:
        """
        Check that photos can give what is asked for.

        :param size: Height and width of the network's input.
        :param fit: How an image of another aspect ratio meets ``size``: crop, pad or stretch.
        :param images: 0 to leave the files alone, or 1.
        :param history: Number of frames, of which a photo has one.
        :param mean: Colour around the image, RGB in [0, 1].
        :param augmentation: Of each sample, if any.
        :raises ValueError: If there would have to be more than one frame.
        """
        if history != 1:
            raise ValueError(f'history must be 1: photos have no frames before, got {history}.')
        if images not in (0, 1):
            raise ValueError(f'images must be 0 or 1: a photo is one frame, got {images}.')
        self.size, self._images, self._augmentation = (size[0], size[1]), images, augmentation
        self._mean = mean
        config = PreprocessingConfig(resize=self.size, fit=fit, mean=mean)
        self._preprocessor = FramePreprocessor(config)

    def __call__(self, photo: Photo, index: int) -> FrameSample:
        """
        Return the sample of a photo; what is random in it is drawn from the global generator.

        :raises ValueError: If the photo can't be decoded or has another size than it should.
        """
        sample = _as_sample(photo, self._pixels(photo), index)
        resize = self._preprocessor.transform(photo.size)
        seen = warp_truth(sample, resize, self.size, mask_stride=1)
        if self._augmentation is not None:
            rng = np.random.default_rng(random.getrandbits(64))
            matrix = compose(self._augmentation.draw(seen, self.size, rng), resize)
            return warp_sample(sample, matrix, self.size, mean=self._mean, mask_stride=1)
        if not self._images:
            return seen._replace(images=torch.zeros(0, *self.size, 3, dtype=torch.uint8))
        small = self._preprocessor.resize(sample.images).permute(0, 2, 3, 1)
        return seen._replace(images=small.contiguous())

    def _pixels(self, photo: Photo) -> Tensor:
        if not self._images:
            return torch.zeros(0, *photo.size, 3, dtype=torch.uint8)
        pixels = read_photo(photo.path)
        if pixels.shape[:2] != photo.size:
            raise ValueError(
                f"'{photo.path}' must have the height and width of its annotation, "
                f'{photo.size}, got {pixels.shape[:2]}.'
            )
        return torch.from_numpy(pixels)[None]


def read_photo(path: Path) -> NDArray[np.uint8]:
    """
    Return the pixels of a photo, RGB ``[H, W, 3]``; a grey one has three equal channels.

    The orientation that a camera noted is ignored, for annotations are made on the pixels as they
    are stored.

    :raises ValueError: If the file can't be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError(f"'{path}' is not an image that can be decoded.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def jpeg_size(path: Path) -> tuple[int, int]:
    """
    Return the height and width of a JPEG file without decoding it.

    :raises ValueError: If the file is not a JPEG.
    """
    with path.open('rb') as file:
        found = _size_in(file) if file.read(2) == b'\xff\xd8' else None
    if found is None:
        raise ValueError(f"'{path}' is not a JPEG file with a size in its header.")
    return found


def existing(names: Sequence[str], folder: Path) -> NDArray[np.bool_]:
    """
    Tell which files are in a folder, with one warning about those that are not.

    :raises ValueError: If none is.
    """
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # A name may hold folders of its own, as exports of labelling tools do.
    found = np.array([n in present or ('/' in n and (folder / n).is_file()) for n in names], bool)
    missing = [name for name, there in zip(names, found) if not there]
    if len(missing) == len(names):
        raise ValueError(f"'{folder}' holds none of the {len(names)} images, as '{names[0]}'.")
    if missing:
        _LOGGER.warning(
            "Left out: %d of %d images are not in '%s', as '%s'.",
            len(missing),
            len(names),
            folder,
            missing[0],
        )
    return found


def _as_sample(photo: Photo, images: Tensor, index: int) -> FrameSample:
    return FrameSample(
        images=images,
        boxes=torch.from_numpy(photo.boxes)[:, None],
        keypoints=torch.from_numpy(photo.keypoints)[:, None],
        areas=torch.from_numpy(photo.areas)[:, None],
        activities=torch.from_numpy(photo.activities),
        is_crowd=torch.from_numpy(photo.is_crowd),
        mask=torch.from_numpy(photo.mask),
        transform=torch.eye(3)[:2],
        size=photo.size,
        image_id=photo.image_id,
        index=index,
    )


def _size_in(file: BinaryIO) -> tuple[int, int] | None:
    while len(header := file.read(2)) == 2 and header[0] == 0xFF:
        if header[1] == 0xFF:
            # Any number of such bytes may come before a marker.
            file.seek(-1, 1)
            continue
        segment = file.read(7)
        if len(segment) < 7:
            return None
        length, _, height, width = struct.unpack('>HBHH', segment)
        if header[1] in _SIZE_MARKERS:
            return height, width
        file.seek(length - 7, 1)
    return None
