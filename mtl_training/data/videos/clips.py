"""Clips of any list of videos and pictures, read, repaired, kept and varied."""

from __future__ import annotations

from collections.abc import Iterator
import logging
from pathlib import Path

from mtl_training.data.decoding import Frame, VideoError, VideoFacts
from mtl_training.data.sample import ClipSample
from mtl_training.data.videos.augmentation import ClipAugmentation
from mtl_training.data.videos.clip_cache import ClipCache
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.data.videos.probing import Prober
from mtl_training.data.videos.problems import problem_log
from mtl_training.data.videos.reading import ClipReader
from mtl_training.data.videos.sampling import num_windows, sample_times, WINDOWS
import torch

_LOGGER = logging.getLogger(__name__)
_MAX_NAMED = 5


class VideoClips:
    """
    Clips of videos, of folders of pictures and of single ones, as any list of them names.

    A single picture stands still for all frames of its clip. What can't be decoded at all is left
    out at the start; what is damaged later is repaired with the good frames beside, and another
    clip of the same class stands in for one that is gone. Each is told once.
    """

    def __init__(
        self,
        task: str,
        split: str,
        index: ClipIndex,
        *,
        num_frames: int,
        clip_seconds: float,
        size: tuple[int, int],
        fit: str = 'crop',
        crop: tuple[int, int] | None = None,
        window: str = 'clip',
        num_clips: int | None = None,
        clip_every: int | None = None,
        cache_dir: str | None = None,
        cache_gb: float = 100.0,
        augment: bool = False,
        crop_scale: tuple[float, float] = (0.5, 1.0),
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.02,
        mirror: float = 0.5,
    ) -> None:
        """
        Find out what decodes, unless it is known from before.

        :param task: Name of the task that the classes belong to.
        :param split: train, where clips vary, or another one.
        :param index: What there is.
        :param num_frames: Frames of a clip.
        :param clip_seconds: Time from the first frame of a clip to its last.
        :param size: (height, width) of the frames.
        :param fit: How a video of another aspect ratio meets ``size``: crop, pad or stretch.
        :param crop: (height, width) of the middle of a frame which is all that the network sees.
        :param window: clip: ``clip_seconds`` of a video, as on the robot, a random part of it in
            the training split, the middle in the others; a shorter video over its whole length.
            whole: frames spread evenly over all of it, as papers do it.
        :param num_clips: Use only so many of them, spread over the list.
        :param clip_every: Give so many clips of each video that there are at most this many
            frames from one to the next; ``None``: one of each.
        :param cache_dir: Folder for decoded clips, which may be shared; ``None``: decode anew.
        :param cache_gb: Most that the folder may hold, in GB; what comes after is not kept.
        :param augment: Vary the clips of the training split, as the settings below say; see
            :class:`ClipAugmentation`. Only where the labels allow it are they mirrored.
        :param crop_scale: Smallest and largest share of the area that is kept.
        :raises ValueError: If a setting is out of range, or no video decodes.
        """
        if window not in WINDOWS:
            raise ValueError(f'window must be one of {WINDOWS}, got {window!r}.')
        if crop is not None and (crop[0] > size[0] or crop[1] > size[1]):
            raise ValueError(f'crop {list(crop)} is larger than size {list(size)}.')
        if num_clips is not None and num_clips < 1:
            raise ValueError(f'num_clips must be at least 1, got {num_clips}.')
        if clip_every is not None and clip_every < 1:
            raise ValueError(f'clip_every must be at least 1, got {clip_every}.')
        if clip_every is not None and window != 'clip':
            raise ValueError(f"clip_every needs window 'clip', got {window!r}.")
        if not cache_gb > 0:
            raise ValueError(f'cache_gb must be positive, got {cache_gb}.')
        augmentation = ClipAugmentation(crop_scale, brightness, contrast, saturation, hue, mirror)
        self.task, self.split, self.labels = task, split, index.labels
        self._num_frames, self._clip_seconds = num_frames, clip_seconds
        self._window, self._crop = window, crop
        self._augmentation = augmentation if augment and split == 'train' else None
        self._mirrored = _mirrored_labels(index)
        self._problems, prober = problem_log(), Prober(index.rate_hz)
        cache = None
        if cache_dir is not None:
            cache = ClipCache(Path(cache_dir).expanduser(), int(cache_gb * 1e9))
        self._read = ClipReader((size[0], size[1]), fit, index.rate_hz, prober, cache)
        self._report_missing(index)
        entries = index.entries
        if num_clips is not None and num_clips < len(entries):
            entries = [entries[i * len(entries) // num_clips] for i in range(num_clips)]
        found = [
            (entry, facts, (i, count))
            for entry, facts in self._decodable(prober, entries)
            for count in [num_windows(facts, clip_seconds, clip_every)]
            for i in range(count)
        ]
        self.entries = [entry for entry, _, _ in found]
        self.facts = [facts for _, facts, _ in found]
        self._parts = [part for _, _, part in found]
        self._report_never_shown()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> ClipSample:
        label = self.entries[index].label
        mirrored = self._mirrored[label]
        frames, is_mirrored = self.varied(self.plain(index)[0], may_mirror=mirrored is not None)
        if is_mirrored and mirrored is not None:
            label = mirrored
        return ClipSample(torch.from_numpy(frames), label, index)

    def plain(self, index: int) -> tuple[Frame, int]:
        """
        Return the frames of a clip before they are varied, uint8 ``[T, h, w, 3]``.

        :return: With the number of the clip that they are of: another one where it is gone.
        :raises VideoError: If no clip that may stand in for it decodes any more.
        """
        for other in self._stand_ins(index):
            try:
                frames = self._sampled(other)
            except (VideoError, OSError) as error:
                last = error
                continue
            if other != index:
                path = self.entries[index].path
                self._problems.tell(
                    path, 'replaced', f"gone since the start, by '{self.entries[other].path}'"
                )
            return frames, other
        label = self.entries[index].label
        where = f"class '{self.labels[label]}'" if self.labels else f"task '{self.task}'"
        raise VideoError(f'none of the videos of {where} can be decoded any more: {last}')

    def varied(self, frames: Frame, *, may_mirror: bool) -> tuple[Frame, bool]:
        """Return another clip that shows the same, and whether it is mirrored, in training."""
        if self._augmentation is None:
            return frames, False
        return self._augmentation(frames, crop=self._crop, may_mirror=may_mirror)

    @property
    def varies(self) -> bool:
        """Tell whether clips are others whenever they are asked for: in training, mostly."""
        if self._augmentation is not None:
            return True
        # Where there is one frame alone, no window can be another.
        return self.split == 'train' and any(facts.num_frames > 1 for facts in self.facts)

    def describe(self, index: int) -> str:
        """Return the file of a clip, and which part of it the clip is, if it is one."""
        number, count = self._parts[index]
        part = f', clip {number + 1} of {count}' if count > 1 else ''
        return f'{self.video_of(index)}{part}'

    def video_of(self, index: int) -> str:
        """Return the file of a clip, and its frames where the list names a part of it."""
        path, frames = self.entries[index].path, self.entries[index].frames
        return str(path) if frames is None else f'{path}, frames {frames[0]} to {frames[1] - 1}'

    # -- At the start ------------------------------------------------------------------------

    def _report_missing(self, index: ClipIndex) -> None:
        if index.missing:
            named = ', '.join(index.missing[:_MAX_NAMED])
            more = ', ...' if len(index.missing) > _MAX_NAMED else ''
            count = f'{len(index.missing)} of {len(index.missing) + len(index.entries)}'
            reason = f'{count} clips that the lists name are not there: {named}{more}'
            self._problems.tell(f'{self.task} {self.split}', 'missing', reason)
        if index.unused:
            named = ', '.join(index.unused[:_MAX_NAMED])
            more = ', ...' if len(index.unused) > _MAX_NAMED else ''
            reason = f'{len(index.unused)} files or folders are no clips: {named}{more}'
            self._problems.tell(f'{self.task} {self.split}', 'not used', reason)

    def _decodable(
        self, prober: Prober, entries: list[ClipEntry]
    ) -> list[tuple[ClipEntry, VideoFacts]]:
        good = []
        for entry, facts in zip(entries, prober.facts(entries)):
            if isinstance(facts, VideoError):
                self._problems.tell(entry.path, 'left out', str(facts))
                continue
            if facts.problem:
                self._problems.tell(entry.path, 'repaired', facts.problem)
            good.append((entry, facts))
        if not good:
            raise ValueError(
                f"task '{self.task}', split '{self.split}': none of its videos can be decoded, "
                f'of {len(entries)} such as {entries[0].path if entries else "none"}.'
            )
        return good

    def _report_never_shown(self) -> None:
        shown = {entry.label for entry in self.entries}
        never = [name for i, name in enumerate(self.labels) if i not in shown]
        if self.split == 'train' and never:
            _LOGGER.warning(
                "task '%s': the training split has no video of %s: never learnt.",
                self.task,
                never,
            )

    # -- One clip ----------------------------------------------------------------------------

    def _stand_ins(self, index: int) -> Iterator[int]:
        label = self.entries[index].label
        for offset in range(len(self)):
            other = (index + offset) % len(self)
            # Without classes, a clip brings along what is true of it.
            if not self.labels or self.entries[other].label == label:
                yield other

    def _sampled(self, index: int) -> Frame:
        facts = self.facts[index]
        times_sec = sample_times(
            facts,
            self._num_frames,
            window=self._window,
            clip_seconds=self._clip_seconds,
            is_random=self.split == 'train',
            part=self._parts[index],
        )
        return self._read(self.entries[index], facts, times_sec)


def _mirrored_labels(index: ClipIndex) -> list[int | None]:
    """Return the label of each class's mirror image; nothing where it must not be mirrored."""
    if index.mirrored is None:
        return [None] * len(index.labels)
    numbers = {name: number for number, name in enumerate(index.labels)}
    # The mirror image of what is a class here may be none.
    return [numbers.get(index.mirrored.get(name, name)) for name in index.labels]
