"""A few labelled clips, a folder per class, as features of a clip trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path

from mtl_training.backpack.novel_task import Rows
from mtl_training.data.video_sets.folder import SUFFIXES
from mtl_training.features.extraction import FeatureExtractor
from mtl_training.features.progress import VideoProgress
from mtl_training.features.reading import VideoEnd
from mtl_training.features.sources import find_videos, Source

MIN_CLIPS = 2  # of a class: one to learn from and one to judge on


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """Clips of a task that is to be learnt."""

    classes: tuple[str, ...]
    paths: list[str]
    rows: list[Rows]  # features [N, D]
    labels: list[int]
    failed: dict[str, str]  # path: why it was left out

    def counts(self) -> list[int]:
        """Return the number of clips of each class."""
        return [self.labels.count(label) for label in range(len(self.classes))]


def find_clips(folder: str | Path) -> tuple[tuple[str, ...], list[tuple[Source, int]]]:
    """
    Return the classes of a folder, and its clips with their classes.

    :raises ValueError: If it is not of the layout ``<folder>/<class>/<video>``, or a class has too
        few videos.
    """
    layout = f'the layout is <folder>/<class>/<video>, a video being one of {", ".join(SUFFIXES)}'
    sources = find_videos(folder)
    root = Path(folder).expanduser()
    parts = [source.name.split('/') for source in sources]
    if loose := [s for s, part in zip(sources, parts) if len(part) < 2]:
        raise ValueError(f"--videos: '{loose[0].entry.path}' is in no class; {layout}.")
    with os.scandir(root) as entries:
        classes = tuple(
            sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        )
    if len(classes) < 2:
        raise ValueError(f"--videos '{folder}' must hold at least 2 classes, got {[*classes]}.")
    clips = [(source, classes.index(part[0])) for source, part in zip(sources, parts)]
    _check_counts(classes, [label for _, label in clips], '')
    return classes, clips


def read_clips(
    classes: tuple[str, ...],
    clips: Sequence[tuple[Source, int]],
    extractor: FeatureExtractor,
    *,
    workers: int,
) -> LabelledClips:
    """
    Make the features of clips; what can't be read is left out and told.

    :raises ValueError: If a class is left with too few.
    """
    sources = [source for source, _ in clips]
    label_of = {source.name: label for source, label in clips}
    found: dict[str, Rows] = {}
    failed = {}
    with VideoProgress(sources) as progress:
        for source, rows, end in extractor.of_videos(sources, workers=workers):
            if not isinstance(end, VideoEnd):
                progress.window(source, end)
                continue
            progress.end(source)
            if rows is None:
                failed[str(source.entry.path)] = end.failure
            else:
                found[source.name] = rows
    read = [source for source in sources if source.name in found]  # in the order of the names
    labels = [label_of[source.name] for source in read]
    _check_counts(classes, labels, _told(failed))
    rows_of = [found[source.name] for source in read]
    return LabelledClips(classes, [str(s.entry.path) for s in read], rows_of, labels, failed)


def _told(failed: dict[str, str]) -> str:
    if not failed:
        return ''
    path, reason = next(iter(failed.items()))
    return f" of those that can be read; {len(failed)} can't, such as '{path}': {reason}"


def _check_counts(classes: Sequence[str], labels: Sequence[int], more: str) -> None:
    for label, name in enumerate(classes):
        if (count := labels.count(label)) < MIN_CLIPS:
            raise ValueError(
                f"class '{name}' needs at least {MIN_CLIPS} clips, one to learn from and one to "
                f'judge on, got {count}{more}.'
            )
