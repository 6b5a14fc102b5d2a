"""What is to be copied of the data sets of a config, and where to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import hashlib
import math
import os
from pathlib import Path
from typing import Any

from mtl_training.config import TrainingConfig
from mtl_training.data.videos.index import ClipEntry, ClipIndex
from mtl_training.dataset_tools.listing import clip_index, lists_videos, warnings_of_data
from mtl_training.dataset_tools.transcoding import CopyJob

# Beyond what the trunk takes, for augmentation that crops.
MARGIN = 1.25
_MAX_STEM = 180  # bytes: file systems take 255, and a hash and a suffix follow


@dataclass(slots=True)
class CopyPlan:
    """
    What is to be copied.

    :param rows: Of the manifest: one per job, in the same order.
    :param folders: Of all classes of all splits, also those without a clip.
    :param missing: Per task and split, what its lists name and the disk lacks.
    :param skipped: Tasks that have no videos, or whose data set is not there, and why.
    :param notes: What the copy can't tell of its source.
    """

    jobs: list[CopyJob] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def plan_copies(
    config: TrainingConfig,
    chosen: Sequence[tuple[str, str]],
    out: Path,
    *,
    short_side: int | None = None,
    max_rate_hz: float | None = None,
) -> CopyPlan:
    """
    List what is to be copied, and where to: ``<out>/<task>/<split>/<class>/<name>.mp4``.

    :param short_side: Of the copies; ``None``: what the task's trunk takes, and a margin.
    :raises ValueError: If there is nothing to copy, or a folder holds what is none of it.
    """
    plan = CopyPlan()
    for task, split in chosen:
        if not lists_videos(config, task):
            plan.skipped[task] = f"the data set '{config.data[task].dataset}' is not of videos"
            continue
        try:
            with warnings_of_data():
                index, _ = clip_index(config, task, split)
        except (ValueError, OSError) as error:
            plan.skipped[f'{task}, {split}'] = ' '.join(str(error).split())
            continue
        resize = config.network.trunks[config.network.tasks[task].trunk].preprocessing.resize
        cover = (math.ceil(resize[0] * MARGIN), math.ceil(resize[1] * MARGIN))
        _plan_split(plan, index, task, split, out, (cover, short_side, max_rate_hz))
    if not plan.jobs:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in plan.skipped.items())
        raise ValueError(f'there is nothing to copy: {reasons}.')
    _refuse_strangers(plan)
    return plan


def _plan_split(
    plan: CopyPlan,
    index: ClipIndex,
    task: str,
    split: str,
    out: Path,
    looks: tuple[tuple[int, int], int | None, float | None],
) -> None:
    folders = [out / task / split / name for name in _folder_names(index.labels)]
    plan.folders += folders
    if index.missing:
        plan.missing[f'{task}, {split}'] = index.missing
    note = f'{task}: some clips may be mirrored in training; those of the copy never are'
    if index.mirrored is not None and note not in plan.notes:
        plan.notes.append(note)
    for entry in (_absolute(entry) for entry in index.entries):
        target = folders[entry.label] / _file_name(entry)
        plan.jobs.append(
            CopyJob(str(entry.path), str(target), entry.frames, *looks, index.rate_hz)
        )
        plan.rows.append(
            {
                'file': str(target.relative_to(out)),
                'source': str(entry.path),
                'frames': entry.frames,
                'task': task,
                'split': split,
                'label': index.labels[entry.label],
                'group': entry.group,
            }
        )


def _absolute(entry: ClipEntry) -> ClipEntry:
    # So that the names of the copies do not depend on where the command is run.
    return entry._replace(path=Path(os.path.abspath(entry.path)))


def _folder_names(labels: Sequence[str]) -> list[str]:
    names = [_visible(label.replace('/', '_')) for label in labels]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f'two classes would share a folder: {twice}.')
    return names


def _file_name(entry: ClipEntry) -> str:
    # Files of different folders may have one name, and a file several ranges.
    key = os.fsencode(entry.path) + repr(entry.frames).encode()
    stem = _visible(entry.path.name if entry.path.is_dir() else entry.path.stem)
    stem = stem.encode()[:_MAX_STEM].decode(errors='ignore')
    return f'{stem}-{hashlib.sha256(key).hexdigest()[:10]}.mp4'


def _visible(name: str) -> str:
    # Of any bytes to UTF-8, as not everything takes others.
    text = os.fsencode(name).decode(errors='replace')
    return f'_{text}' if text.startswith('.') else text


def _refuse_strangers(plan: CopyPlan) -> None:
    """Refuse what would be read as part of the copy and is none of it."""
    expected = {Path(job.target) for job in plan.jobs}
    known = set(plan.folders)
    for split in sorted({folder.parent for folder in plan.folders}):
        if not split.is_dir():
            continue
        for path in sorted(split.iterdir()):
            inside = sorted(path.iterdir()) if path in known and path.is_dir() else [path]
            strange = [p for p in inside if p not in expected and not p.name.startswith('.')]
            if strange and (path in known or path.is_dir()):
                raise ValueError(
                    f"'{strange[0]}' is none of the copies of these data sets, and would be read "
                    'as one: delete it, or name another folder with --out.'
                )
