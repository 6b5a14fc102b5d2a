"""The command ``datasets prepare``: a compact copy of the videos of a config."""

from __future__ import annotations

from collections.abc import Sequence
import json
import os
from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import write_atomically
from mtl_training.commands.dataset_arguments import (
    add_jobs,
    make_parser,
    parse,
    ProgressBar,
    say,
)
from mtl_training.config import TrainingConfig
from mtl_training.data.videos.scaling import FrameScaler
from mtl_training.dataset_tools.copy_plan import CopyPlan, plan_copies
from mtl_training.dataset_tools.copy_problems import CopyProblem, problems_of, told
from mtl_training.dataset_tools.decode_speed import DecodeSpeed, measure_speed
from mtl_training.dataset_tools.listing import chosen
from mtl_training.dataset_tools.preparing import (
    copy_all,
    counts_of,
    data_section,
    parts_of,
)
from mtl_training.dataset_tools.transcoding import Copied
from rich.console import Console
import yaml

DESCRIPTION = """Make a compact copy of the videos of a config, which decodes many times as fast.

H.264 without sound, a key frame every half second, no larger than the trunk needs (and a quarter
more, for augmentation), as <out>/<task>/<split>/<class>/<name>.mp4, with a manifest
<out>/<task>/<split>.jsonl of where each came from. Started again, it goes on where it was
stopped: what is there and whole, of an unchanged source, is kept. Sources that are missing, are
damaged or do not decode are listed in <out>/problems.jsonl. At the end it prints the whole section
data of a config that reads the copy, which is also in <out>/data.yaml, and what was wrong. The
exit code is 1 if a source was missing or did not decode.

Examples:
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small \\
      --size 160 --fps 15 --jobs 8"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = make_parser('prepare', DESCRIPTION)
    parser.add_argument('--out', type=str, required=True, help='folder of the copy')
    parser.add_argument(
        '--size',
        type=int,
        metavar='SHORT_SIDE',
        help='of the copies, in pixels; smaller sources stay as they are (default: what the trunk '
        'of the task needs, and a quarter more)',
    )
    parser.add_argument(
        '--fps', type=float, help='leave out frames beyond this rate (default: keep all)'
    )
    add_jobs(parser)
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = parse(parser, arguments)
    if parsed.size is not None and parsed.size < 2:
        raise ValueError(f'--size must be at least 2 pixels, got {parsed.size}.')
    # Written so that NaN is refused too.
    if parsed.fps is not None and not 0 < parsed.fps < float('inf'):
        raise ValueError(f'--fps must be positive, got {parsed.fps}.')
    # Whole, as the config that it ends up in may lie anywhere.
    out = Path(os.path.abspath(Path(parsed.out).expanduser()))
    parts = chosen(config, parsed.task, parsed.split)
    plan = plan_copies(config, parts, out, short_side=parsed.size, max_rate_hz=parsed.fps)
    out.mkdir(parents=True, exist_ok=True)
    with ProgressBar('copy') as bar:
        found = copy_all(plan, out, jobs=parsed.jobs, track=bar.track)
    section = data_section(config, plan, out)
    problems = problems_of(plan, found, out)
    snippet = _comment(config, plan, found) + yaml.safe_dump(
        {'data': section}, sort_keys=False, allow_unicode=True
    )
    write_atomically(out / 'data.yaml', snippet.encode(errors='surrogateescape'))
    speeds = _speeds(config, plan, found)
    if parsed.json:
        print(json.dumps(_facts(plan, found, speeds, section)))
    else:
        _tell(plan, found, speeds)
        print(f'\n{snippet}')
        say(Console(), _told_last(plan, problems, out))
    has_lost = bool(plan.missing or plan.skipped) or counts_of(found)['failed']
    return 1 if has_lost else 0


def _speeds(
    config: TrainingConfig, plan: CopyPlan, found: Sequence[Copied]
) -> dict[str, DecodeSpeed]:
    speeds = {}
    for task in dict.fromkeys(row['task'] for row in plan.rows):
        trunk = config.network.trunks[config.network.tasks[task].trunk]
        jobs = [
            job
            for job, row, copied in zip(plan.jobs, plan.rows, found)
            if row['task'] == task and copied.status != 'failed'
        ]
        if jobs:
            preprocessing = trunk.preprocessing
            speeds[task] = measure_speed(
                jobs,
                num_frames=trunk.num_frames,
                clip_seconds=trunk.clip_seconds,
                scaler=FrameScaler(preprocessing.resize, preprocessing.fit),
            )
    return speeds


def _facts(
    plan: CopyPlan, found: Sequence[Copied], speeds: dict[str, DecodeSpeed], section: Any
) -> dict[str, Any]:
    problems = [
        {'source': row['source'], 'status': copied.status, 'problem': copied.problem}
        for row, copied in zip(plan.rows, found)
        if copied.problem
    ]
    return {
        **counts_of(found),
        'bytes': sum(copied.num_bytes for copied in found),
        'problems': problems,
        'missing': plan.missing,
        'skipped': plan.skipped,
        'notes': plan.notes,
        'clips_per_second': {task: speed._asdict() for task, speed in speeds.items()},
        'data': section,
    }


def _comment(config: TrainingConfig, plan: CopyPlan, found: Sequence[Copied]) -> str:
    parts = parts_of(plan, found)
    text = '; '.join(f'{task} ({", ".join(splits)})' for task, splits in parts.items())
    lines = [f'# Reads the copy of: {text or "nothing"}.']
    if others := [task for task in config.data if task not in parts]:
        lines.append(f'# As before, not copied: {", ".join(others)}.')
    return '\n'.join(lines) + '\n'


def _told_last(plan: CopyPlan, problems: Sequence[CopyProblem], out: Path) -> list[str]:
    skipped = [f'{name}: not copied: {reason}' for name, reason in plan.skipped.items()]
    num_missing = sum(map(len, plan.missing.values()))
    return [*skipped, *told(problems, len(plan.rows) + num_missing, out)]


def _tell(plan: CopyPlan, found: Sequence[Copied], speeds: dict[str, DecodeSpeed]) -> None:
    lines = [*plan.notes]
    counts = counts_of(found)
    size = sum(copied.num_bytes for copied in found)
    lines.append(
        f'{counts["made"]} clips copied, {counts["kept"]} were there, {counts["failed"]} do not '
        f'decode; {size / 1e6:,.1f} MB'
    )
    for task, (source_hz, copy_hz) in speeds.items():
        lines.append(
            f'{task}: {copy_hz:,.1f} clips a second from the copy, {source_hz:,.1f} from the '
            f'sources: {copy_hz / source_hz:.1f} times as fast'
        )
    say(Console(), lines)
