"""The command ``datasets``: describe, check and copy the data sets of a config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import json
from pathlib import Path
import sys
from typing import Any

from jsonargparse import Namespace
from mtl_perception.checkpoint import write_atomically
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.output import check_output
from mtl_training.config import load_config, TrainingConfig
from mtl_training.data.videos.scaling import FrameScaler
from mtl_training.dataset_tools import check_report, description_report
from mtl_training.dataset_tools.checking import check
from mtl_training.dataset_tools.decode_speed import DecodeSpeed, measure_speed
from mtl_training.dataset_tools.descriptions import describe_all
from mtl_training.dataset_tools.listing import chosen, printable
from mtl_training.dataset_tools.preparing import (
    copy_all,
    CopyPlan,
    counts_of,
    data_section,
    plan_copies,
)
from mtl_training.dataset_tools.processes import num_processors
from mtl_training.dataset_tools.transcoding import Copied
from mtl_training.tables import nearest
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
import yaml

PROG = 'python -m mtl_training datasets'
DESCRIPTION = """Look at the data sets of a training config before they train.

Entries of the config below data are set as for train: --data.action.settings.root videos

Commands:
  describe  classes, clips per class, what is missing, and a picture of it
  check     decode every file: what is missing, damaged, twice there or mislabelled
  prepare   make a compact copy that decodes fast

Examples:
  python -m mtl_training datasets describe --config config/training/set1.yaml --out out/set1
  python -m mtl_training datasets check --config config/training/folder.yaml --out check.json \\
      --data.action.settings.root videos
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small

Each command explains itself: 'python -m mtl_training datasets check --help'."""
DESCRIBE = """Tell what the data sets of a config hold, by their lists and annotations.

Per task and split: classes, samples per class (smallest / median / largest, and which are the
smallest), what the lists name and the disk lacks, groups of clips that must stay together, and
which classes of which parts were merged. With --out, the samples of every class are drawn to
classes_<task>.png. Nothing is decoded. A data set that is not there is told with its reason, and
the others are described; the exit code is 2 then.

Examples:
  python -m mtl_training datasets describe --config config/training/set3.yaml --out out/set3
  python -m mtl_training datasets describe --config config/training/folder.yaml --json \\
      --data.action.settings.root videos"""
CHECK = """Decode every frame of every file of the data sets of a config.

Found are files that are missing, do not open, are damaged, hold a single frame or another number
than their container declares, ranges beyond the end, and the same content more than once: in
train and in another split, or under two labels, of which one is wrong. With --out, all of it is
written as JSON. The exit code is 0 if there is nothing, 1 if there is.

Examples:
  python -m mtl_training datasets check --config config/training/set1.yaml --out check.json
  python -m mtl_training datasets check --config config/training/folder.yaml --task action \\
      --split train --jobs 4 --data.action.settings.root videos"""
PREPARE = """Make a compact copy of the videos of a config, which decodes many times as fast.

H.264 without sound, a key frame every half second, no larger than the trunk needs (and a quarter
more, for augmentation), as <out>/<task>/<split>/<class>/<name>.mp4, with a manifest
<out>/<task>/<split>.jsonl of where each came from. Started again, it goes on where it was
stopped: what is there and whole, of an unchanged source, is kept. Sources that do not decode are
listed. At the end it prints the section of a config that reads the copy, which is also in
<out>/data.yaml. The exit code is 1 if a source was missing or did not decode.

Examples:
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small
  python -m mtl_training datasets prepare --config config/training/set1.yaml --out data/small \\
      --size 160 --fps 15 --jobs 8"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, 1 for what was found, 2 for wrong input."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        'describe': _describe,
        'check': _check,
        'prepare': _prepare,
    }
    if not arguments or arguments[0] in ('-h', '--help'):
        parser = OneLineParser(prog=PROG, description=DESCRIPTION, usage=f'{PROG} <command> ...')
        parser.print_help(sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in commands:
        raise ValueError(
            f"datasets has no command '{arguments[0]}'. {nearest(arguments[0], [*commands])}"
        )
    return commands[arguments[0]](arguments[1:])


def _describe(arguments: Sequence[str]) -> int:
    parser = _parser('describe', DESCRIBE)
    parser.add_argument('--out', type=str, help='folder of the pictures')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = _parse(parser, arguments)
    with _Bar('people') as bar:
        found = describe_all(config, chosen(config, parsed.task, parsed.split), bar.show)
    pictures = []
    if parsed.out is not None:
        folder = Path(parsed.out)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = description_report.draw(found, folder)
    if parsed.json:
        facts = {'datasets': description_report.json_of(found), 'pictures': [*map(str, pictures)]}
        print(json.dumps(facts))
    else:
        console = Console()
        console.print(description_report.table_of(found))
        tables = (description_report.merged_table(one) for one in found)
        for table in filter(None, tables):
            console.print(table)
        _say(console, [*description_report.notes_of(found), *map(str, pictures)])
    return 2 if any(one.error for one in found) else 0


def _check(arguments: Sequence[str]) -> int:
    parser = _parser('check', CHECK)
    _add_jobs(parser)
    parser.add_argument('--out', type=str, help='file of the report, JSON')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = _parse(parser, arguments)
    if parsed.out is not None:
        check_output('--out', parsed.out)
    parts = chosen(config, parsed.task, parsed.split)
    with _Bar('check') as bar:
        checked = check(config, parts, jobs=parsed.jobs, track=bar.track)
    report = check_report.json_of(checked)
    if parsed.out is not None:
        content = json.dumps(report, indent=1).encode()
        write_atomically(Path(parsed.out), content + b'\n')
    if parsed.json:
        print(json.dumps(report))
    else:
        console = Console()
        console.print(check_report.statistics_table(checked))
        if checked.problems:
            console.print(check_report.problems_table(checked))
        lines = [f'{name}: samples are no files, nothing to decode' for name in checked.unchecked]
        _say(console, [*lines, f'{len(checked.files)} files, {len(checked.problems)} problems'])
    return 1 if checked.problems else 0


def _prepare(arguments: Sequence[str]) -> int:
    parser = _parser('prepare', PREPARE)
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
    _add_jobs(parser)
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = _parse(parser, arguments)
    if parsed.size is not None and parsed.size < 2:
        raise ValueError(f'--size must be at least 2 pixels, got {parsed.size}.')
    # Written so that NaN is refused too.
    if parsed.fps is not None and not 0 < parsed.fps < float('inf'):
        raise ValueError(f'--fps must be positive, got {parsed.fps}.')
    out = Path(parsed.out).expanduser()
    parts = chosen(config, parsed.task, parsed.split)
    plan = plan_copies(config, parts, out, short_side=parsed.size, max_rate_hz=parsed.fps)
    out.mkdir(parents=True, exist_ok=True)
    with _Bar('copy') as bar:
        found = copy_all(plan, out, jobs=parsed.jobs, track=bar.track)
    section = data_section(config, plan, out)
    snippet = yaml.safe_dump({'data': section}, sort_keys=False, allow_unicode=True)
    write_atomically(out / 'data.yaml', snippet.encode(errors='surrogateescape'))
    speeds = _speeds(config, plan, found)
    if parsed.json:
        print(json.dumps(_facts(plan, found, speeds, section)))
    else:
        _tell(plan, found, speeds, snippet)
    has_lost = bool(plan.missing or plan.skipped) or counts_of(found)['failed']
    return 1 if has_lost else 0


def _parser(command: str, description: str) -> OneLineParser:
    parser = OneLineParser(prog=f'{PROG} {command}', description=description)
    parser.add_argument('--config', type=str, required=True, help='YAML file of a training run')
    parser.add_argument('--task', type=str, help='one task; all by default')
    parser.add_argument(
        '--split', type=str, help='train, val or test (default: those that a run reads)'
    )
    return parser


def _add_jobs(parser: OneLineParser) -> None:
    parser.add_argument(
        '--jobs', type=int, default=num_processors(), help='processes (default: %(default)s)'
    )


def _parse(parser: OneLineParser, arguments: Sequence[str]) -> tuple[Namespace, TrainingConfig]:
    rest, overrides = split_overrides(arguments)
    parsed = parser.parse_args(rest)
    if getattr(parsed, 'jobs', 1) < 1:
        raise ValueError(f'--jobs must be positive, got {parsed.jobs}.')
    return parsed, load_config(parsed.config, overrides)


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


def _tell(
    plan: CopyPlan, found: Sequence[Copied], speeds: dict[str, DecodeSpeed], snippet: str
) -> None:
    lines = []
    for row, copied in zip(plan.rows, found):
        if copied.problem:
            what = 'left out' if copied.status == 'failed' else 'copied'
            lines.append(f"{what}: '{row['source']}': {copied.problem}")
    for where, missing in plan.missing.items():
        lines.append(f'{where}: {len(missing)} are missing, such as {missing[:3]}')
    lines += [f'{name}: not copied: {reason}' for name, reason in plan.skipped.items()]
    lines += plan.notes
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
    _say(Console(), lines)
    print(f'\nThis reads the copy:\n\n{snippet}', end='')


def _say(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(escape(printable(line)), soft_wrap=True, highlight=False)


class _Bar:
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn(f'[bold]{title}'),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._shown = self._progress.add_task(title, total=None)

    def __enter__(self) -> _Bar:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """Show how many of how many are done."""
        if self._progress:
            self._progress.update(self._shown, completed=done, total=total)

    def track(self, items: Iterator[Any], total: int) -> Iterator[Any]:
        """Pass items on and show how many have come."""
        self.show(0, total)
        for done, item in enumerate(items, start=1):
            yield item
            self.show(done, total)
