"""What is wrong with the files of a data set, and with the files among each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_training.config import TrainingConfig
from mtl_training.data.sample import describe
from mtl_training.dataset_tools.inspection import FileFacts, inspect_file
from mtl_training.dataset_tools.listing import (
    captions_of_files,
    clip_index,
    frame_dataset,
    has_captions,
    lists_videos,
    looks_at_frames,
    looks_at_windows,
    multi_label_index,
    shows_several,
    warnings_of_data,
    windows,
)
from mtl_training.dataset_tools.processes import in_processes

# Worst first.
KINDS = {
    'not_there': 'a data set that is not there, or not in the layout that it has',
    'leak': 'the same content in train and in another split',
    'mislabelled': 'the same content under two labels: one of them is wrong',
    'missing': 'named by a list, and not on the disk',
    'unreadable': 'not a single frame decodes',
    'crash': 'ends the process that decodes it',
    'damaged': 'does not decode all the way',
    'range': 'frames of the list lie beyond the end',
    'frame_count': 'the container declares another number of frames than decodes',
    'one_frame': 'a video of a single frame',
    'duplicate': 'the same content more than once in one split',
    'off_by_one': 'the container declares a frame more or less than decodes: nothing is lost',
}
HARMLESS = ('off_by_one',)  # so common that they are only counted


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as a list names it, in one split of one task."""

    task: str
    split: str
    path: str
    label: str
    frames: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, of which file, and where it is listed."""

    kind: str
    task: str
    split: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """All that a check found."""

    problems: list[Problem]
    files: dict[str, FileFacts]
    listed: list[Listed]
    unchecked: list[str]  # tasks whose samples are no files


def list_files(
    config: TrainingConfig, chosen: Sequence[tuple[str, str]]
) -> tuple[list[Listed], list[Problem], list[str]]:
    """Return the files of tasks and splits, problems of their lists, and what has no files."""
    listed: list[Listed] = []
    problems: list[Problem] = []
    unchecked: list[str] = []
    for task, split in chosen:
        try:
            with warnings_of_data() as notes:
                found, missing = _files_of(config, task, split)
        except (ValueError, OSError) as error:
            reason = ' '.join(str(error).split())
            problems.append(Problem('not_there', task, split, '', reason))
            continue
        if not found and not missing:
            unchecked.append(f'{task}, {split}')
        listed += found
        details = [(path, 'is not there') for path in missing]
        # Data sets of frames and of windows tell what is missing in words.
        tells = looks_at_frames(config, task) or looks_at_windows(config, task)
        details += [('', note) for note in notes if tells]
        problems += [Problem('missing', task, split, path, detail) for path, detail in details]
    return listed, problems, unchecked


def _files_of(config: TrainingConfig, task: str, split: str) -> tuple[list[Listed], Sequence[str]]:
    if lists_videos(config, task):
        index, _ = clip_index(config, task, split)
        found = [
            Listed(task, split, str(entry.path), index.labels[entry.label], entry.frames)
            for entry in index.entries
        ]
        return found, index.missing
    if looks_at_windows(config, task):
        # All there is to check: whether the annotations and the features can be read.
        windows(config, task, split)
        return [], ()
    if has_captions(config, task):
        captions = captions_of_files(config, task, split)
        if captions is None:
            return [], ()
        files = [Listed(task, split, str(file.path), '') for file in captions.files]
        return files, captions.missing
    if shows_several(config, task):
        pictures = multi_label_index(config, task, split).clips
        files = [Listed(task, split, str(entry.path), '') for entry in pictures.entries]
        return files, pictures.missing
    if not looks_at_frames(config, task):
        return [], ()
    dataset = frame_dataset(config, task, split, with_images=True)
    # What is rendered says from which scene; photos say from which file.
    names = [describe(dataset, index) for index in range(len(dataset))]  # type: ignore[arg-type]
    has_files = bool(names) and Path(names[0]).is_absolute() | Path(names[0]).exists()
    return [Listed(task, split, name, '') for name in names if has_files], ()


def check(
    config: TrainingConfig,
    chosen: Sequence[tuple[str, str]],
    *,
    jobs: int,
    track: Callable[[Iterator[Any], int], Iterator[Any]] = lambda items, total: items,
) -> Checked:
    """
    Decode every file of tasks and splits once, and compare what they hold.

    :param jobs: Processes.
    :param track: Passes items on and shows how many of how many have come.
    """
    listed, problems, unchecked = list_files(config, chosen)
    paths = [Path(path) for path in dict.fromkeys(one.path for one in listed)]
    files: dict[str, FileFacts] = {}
    for path, facts in track(in_processes(inspect_file, paths, jobs), len(paths)):
        lost = FileFacts(str(path), problems=[('crash', 'ends the process that decodes it')])
        files[str(path)] = facts or lost
    problems += _problems_of_files(listed, files)
    problems += _problems_of_content(listed, files)
    order = {kind: place for place, kind in enumerate(KINDS)}
    problems.sort(key=lambda p: (order[p.kind], p.task, p.split, p.path))
    return Checked(problems, files, listed, unchecked)


def _problems_of_files(
    listed: Sequence[Listed], files: Mapping[str, FileFacts]
) -> Iterator[Problem]:
    seen: set[tuple[str, str, str]] = set()
    for one in listed:
        facts = files[one.path]
        where = (one.task, one.split, one.path)
        if where not in seen:
            yield from (Problem(kind, *where, detail) for kind, detail in facts.problems)
        seen.add(where)
        if one.frames is not None and facts.num_frames and one.frames[1] > facts.num_frames:
            detail = f'frames {one.frames[0]} to {one.frames[1]} of {facts.num_frames}'
            yield Problem('range', *where, detail)


def _problems_of_content(
    listed: Sequence[Listed], files: Mapping[str, FileFacts]
) -> Iterator[Problem]:
    same: dict[tuple[str, str, tuple[int, int] | None], list[Listed]] = {}
    for one in listed:
        if digest := files[one.path].digest:
            same.setdefault((one.task, digest, one.frames), []).append(one)
    for copies in same.values():
        first = copies[0]
        for other in copies[1:]:
            yield from (
                Problem(kind, other.task, other.split, other.path, _compared(first, other))
                for kind in _kinds_of(copies, first, other)
            )


def _kinds_of(copies: Sequence[Listed], first: Listed, other: Listed) -> Iterator[str]:
    if other.label != first.label:
        yield 'mislabelled'
    if other.split == first.split:
        if other.label == first.label:
            yield 'duplicate'
    # Where a data set has no labelled test split, val stands in for it: not worth a word.
    elif any(copy.split == 'train' for copy in copies):
        yield 'leak'


def _compared(first: Listed, other: Listed) -> str:
    text = f"has the content of '{first.path}' of {first.split}"
    if other.label != first.label:
        text += f", which is '{first.label}', not '{other.label}'"
    return text
