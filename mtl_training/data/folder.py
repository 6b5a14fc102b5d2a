"""The user's own videos: a folder per split, a folder per class, a file per clip."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import logging
from pathlib import Path
import random
from typing import NamedTuple

from mtl_perception.network.clips import clip_times
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.decoding import Frame, probe_duration, read_frames, VideoError
from mtl_training.data.sample import ClipSample
import torch
from torch import Tensor

SPLITS = ('train', 'val', 'test')
SUFFIXES = ('.avi', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
LAYOUT = f'<root>/<train|val|test>/<class>/<video>, a video being one of {", ".join(SUFFIXES)}'
_LOGGER = logging.getLogger(__name__)


class Video(NamedTuple):
    """A video that decodes."""

    path: Path
    label: int
    duration_sec: float


class FolderClips:
    """
    Your own videos, in ``<root>/<train|val|test>/<class>/*.mp4`` (or avi, gif, mkv, mov, webm).

    A clip spans ``clip_seconds``, as on the robot: a random window of its video in the training
    split, the middle in the others; a shorter video is sampled over its whole length. Videos that
    can't be decoded are left out, with one warning each.
    """

    def __init__(
        self,
        task: str,
        split: str,
        *,
        root: str,
        num_frames: int,
        clip_seconds: float,
        size: tuple[int, int],
        fit: str = 'crop',
    ) -> None:
        """
        Find the videos and check that each of them decodes.

        :param task: Name of the task that the classes belong to.
        :param split: train, val or test.
        :param root: The folder that holds the splits.
        :param num_frames: Frames of a clip.
        :param clip_seconds: Time from the first frame of a clip to its last.
        :param size: (height, width) of the frames.
        :param fit: How a video of another aspect ratio meets ``size``: crop, pad or stretch.
        :raises ValueError: If the folder does not have this layout, or no video decodes.
        """
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}.')
        self.task, self.split = task, split
        self._num_frames, self._clip_seconds = num_frames, clip_seconds
        config = PreprocessingConfig(resize=(size[0], size[1]), fit=fit)
        self._preprocessor = FramePreprocessor(config)
        folder = Path(root).expanduser()
        self.labels = _classes(folder)
        self.videos = _decodable(_files(folder, split, self.labels))
        if not self.videos:
            raise ValueError(f"'{folder / split}': none of its videos can be decoded.")
        shown = {video.label for video in self.videos}
        if split == 'train' and (
            never := [n for i, n in enumerate(self.labels) if i not in shown]
        ):
            _LOGGER.warning("'%s' has no video of %s: never learnt.", folder / split, never)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> ClipSample:
        video = self.videos[index]
        spare_sec = max(video.duration_sec - self._clip_seconds, 0.0)
        start_sec = spare_sec * (random.random() if self.split == 'train' else 0.5)
        # A video of one frame has no length: all of the clip is that frame.
        length_sec = max(min(self._clip_seconds, video.duration_sec), 1e-6)
        times = clip_times(start_sec + length_sec, length_sec, self._num_frames)
        frames = read_frames(video.path, times, self._resized)
        return ClipSample(torch.stack(frames), video.label, index)

    def describe(self, index: int) -> str:
        """Return the file of a clip."""
        return str(self.videos[index].path)

    def _resized(self, frame: Frame) -> Tensor:
        return self._preprocessor.resize(torch.from_numpy(frame)[None])[0].permute(1, 2, 0)


def _classes(folder: Path) -> tuple[str, ...]:
    # Those of all splits together, so that a label means the same in each of them.
    found = {
        path.name
        for split in SPLITS
        if (folder / split).is_dir()
        for path in (folder / split).iterdir()
        if path.is_dir() and not path.name.startswith('.')
    }
    if not folder.is_dir():
        raise ValueError(
            f"'{folder}' is not a folder that exists, seen from '{Path.cwd()}'; "
            f'the layout is {LAYOUT}.'
        )
    if not found:
        raise ValueError(f"'{folder}' holds no classes; the layout is {LAYOUT}.")
    return tuple(sorted(found))


def _files(folder: Path, split: str, labels: tuple[str, ...]) -> list[tuple[Path, int]]:
    if not (folder / split).is_dir():
        raise ValueError(f"'{folder}' has no folder '{split}'; the layout is {LAYOUT}.")
    found = [
        (path, label)
        for label, name in enumerate(labels)
        if (folder / split / name).is_dir()
        for path in sorted((folder / split / name).iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith('.')
    ]
    if not found:
        raise ValueError(f"'{folder / split}' holds no video; the layout is {LAYOUT}.")
    return found


def _decodable(files: list[tuple[Path, int]]) -> list[Video]:
    def probe(file: tuple[Path, int]) -> Video | VideoError:
        try:
            return Video(*file, probe_duration(file[0]))
        except VideoError as error:
            return error

    with ThreadPoolExecutor() as pool:
        probed = list(pool.map(probe, files))
    for result in probed:
        if isinstance(result, VideoError):
            _LOGGER.warning('Left out: %s', result)
    return [result for result in probed if isinstance(result, Video)]
