"""A compact copy of the clips of a config, in the layout of your own videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import json
from pathlib import Path
import shutil
from typing import Any

from mtl_perception.checkpoint import write_atomically
from mtl_perception.network.config import to_mapping
from mtl_training.config import SPLITS, TrainingConfig
from mtl_training.data.videos.registry import index_settings
from mtl_training.dataset_tools.copy_plan import CopyPlan
from mtl_training.dataset_tools.processes import in_processes
from mtl_training.dataset_tools.transcoding import Copied, CopyJob, make_copy

_TRIALS = 8  # copies that tell how much room the others need
_SPARE = 1.2
Track = Callable[[Iterator[Any], int], Iterator[Any]]


def copy_all(plan: CopyPlan, out: Path, *, jobs: int, track: Track) -> list[Copied]:
    """
    Make all copies that are not there, and the manifests.

    :param track: Passes items on and shows how many of how many have come.
    :return: What became of each job, in their order.
    :raises ValueError: If the disk has not enough room for them.
    """
    for folder in plan.folders:
        folder.mkdir(parents=True, exist_ok=True)
    results: dict[CopyJob, Copied] = {}
    # A list may name a clip twice.
    distinct = list(dict.fromkeys(plan.jobs))
    trials = distinct[:: max(1, len(distinct) // _TRIALS)][:_TRIALS]
    rest = [job for job in distinct if job not in trials]

    def work() -> Iterator[tuple[CopyJob, Copied | None]]:
        yield from in_processes(make_copy, trials, min(jobs, len(trials)))
        _check_room(out, [results[job] for job in trials], rest)
        yield from in_processes(make_copy, rest, jobs)

    for job, copied in track(work(), len(distinct)):
        results[job] = copied or Copied('failed', problem='ends the process that decodes it')
    found = [results[job] for job in plan.jobs]
    _write_manifests(plan, found, out)
    return found


def _check_room(out: Path, trials: Sequence[Copied], rest: Sequence[CopyJob]) -> None:
    made = [copied.num_bytes for copied in trials if copied.num_bytes]
    num_new = sum(not Path(job.target).exists() for job in rest)
    needed = _SPARE * num_new * sum(made) / max(1, len(made))
    free = shutil.disk_usage(out).free
    if needed > free:
        raise ValueError(
            f"'{out}' has {free / 1e9:.2f} GB free; the {num_new} copies that are left need about "
            f'{needed / 1e9:.2f} GB, by the first {len(made)}.'
        )


def _write_manifests(plan: CopyPlan, found: Sequence[Copied], out: Path) -> None:
    lines: dict[tuple[str, str], list[str]] = {}
    for row, copied in zip(plan.rows, found):
        if copied.status != 'failed':
            lines.setdefault((row['task'], row['split']), []).append(json.dumps(row))
    for (task, split), rows in lines.items():
        write_atomically(out / task / f'{split}.jsonl', ('\n'.join(rows) + '\n').encode())


def data_section(config: TrainingConfig, plan: CopyPlan, out: Path) -> dict[str, Any]:
    """
    Return the section ``data`` that reads the copy, with how clips are read as it was.

    It is whole: tasks of which nothing was copied stay as they were.
    """
    section: dict[str, Any] = {}
    copied = {row['task'] for row in plan.rows}
    for task, data in config.data.items():
        block = to_mapping(data)
        if task in copied:
            own = {*index_settings(data.dataset), 'task'}
            for name in ('settings', *SPLITS):
                block[name] = {key: v for key, v in block[name].items() if key not in own}
            block['settings'] = {'root': str(out / task), **block['settings']}
            block['dataset'] = 'folder'
        section[task] = {name: v for name, v in block.items() if not _is_default(name, v)}
    return section


def parts_of(plan: CopyPlan, found: Sequence[Copied]) -> dict[str, list[str]]:
    """Return the splits of each task of which there is a copy of at least one clip."""
    parts: dict[str, list[str]] = {}
    for row, copied in zip(plan.rows, found):
        splits = parts.setdefault(row['task'], [])
        if copied.status != 'failed' and row['split'] not in splits:
            splits.append(row['split'])
    return {task: splits for task, splits in parts.items() if splits}


def _is_default(name: str, value: Any) -> bool:
    return value == {} or (name.startswith('label_noise') and not value)


def counts_of(found: Sequence[Copied]) -> Mapping[str, int]:
    """Return how many copies were kept, made and failed."""
    return {
        status: sum(copied.status == status for copied in found)
        for status in ('kept', 'made', 'failed')
    }
