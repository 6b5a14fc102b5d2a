"""The command ``compare``: a grid of methods, seeds and data sets, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import fcntl
import json
from pathlib import Path
import shlex

from jsonargparse import Namespace
from mtl_training.arguments import (
    add_config_arguments,
    fixed_overrides,
    OneLineParser,
    split_overrides,
)
from mtl_training.comparison.config import load_comparison
from mtl_training.comparison.devices import choose_devices
from mtl_training.comparison.plan import planned_runs, PlannedRun
from mtl_training.comparison.pool import WorkerPool
from mtl_training.comparison.progress import ComparisonProgress, shown_time
from mtl_training.fitting_tables import print_table
from mtl_training.provenance import git_revision
from mtl_training.reporting.write import write_report
from rich.console import Console
from rich.table import Table

FAILED, STOPPED = 1, 130

DESCRIPTION = """Train and compare sharing methods, weightings and regimes.

Every combination of sharing, weighting, regime, data set and seed is a training run in its own
folder. Finished runs are not run again and interrupted ones go on, so the same command also
continues a comparison that was stopped, and takes up entries that were added to its config.

The config names what is compared, and in ``base`` what all runs have in common:
  base: quick.yaml                  # a training config, inline or a file beside this one
  sharing:                          # a name for the tables: method, settings
    STL: {name: single_task}
    SPS: {name: cross_stitch, settings: {shared: 0.2}}
  weighting:
    average: {name: average}
    DWA: {name: dwa, settings: {interval: 50}}
  regime:                           # may be left out: that of base
    joint: {name: joint}
    actions alone: {name: joint, tasks: [action]}
    memory: {name: distilling, grid: {lambda_A: [0.3, 0.5], lambda_S: [0.5, 0.7]}}
  seeds: [0, 1]

Examples:
  python -m mtl_training compare --config config/training/compare_small.yaml --dry-run
  python -m mtl_training compare --config config/training/compare_paper.yaml --out out/paper \\
      --init_weights r3d_18-b3b3357e.pth --jobs 2

Exit code: 0; 1 if a run failed; 130 if it was stopped."""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    comparison = load_comparison(parsed.config, [*fixed_overrides(parsed.as_dict()), *overrides])
    out = Path(parsed.out or Path('out', 'compare', Path(parsed.config).stem))
    runs = planned_runs(comparison, out)
    devices = choose_devices([run.config for run in runs], parsed.jobs)
    if parsed.dry_run:
        _print_plan(runs, len(devices), as_json=parsed.json)
        return 0
    with _alone(out):
        command = shlex.join(['python', '-m', 'mtl_training', 'compare', *arguments])
        _prepare(runs, command, len(devices))
        return _train(runs, devices, out, parsed)


def _train(
    runs: Sequence[PlannedRun], devices: Sequence[str | None], out: Path, parsed: Namespace
) -> int:
    console = Console(stderr=True)
    unfinished = [run for run in runs if not run.is_finished]
    with ComparisonProgress(console, runs, len(runs) - len(unfinished)) as progress:
        progress.say(
            f'{len(unfinished)} of {len(runs)} runs to train, {len(devices)} at a time: {out}'
        )
        is_whole = WorkerPool(devices[: len(unfinished)], progress).train(unfinished)
    written = write_report(out, out / 'report')
    failed = [run for run in runs if run.failure.exists()]
    if parsed.json:
        print(json.dumps(_figures(runs, out, progress.wall_sec, written)))
    else:
        for run in failed:
            progress.say(f'failed: {run.name}: {run.failure.read_text().strip()}')
        console.print(f'{shown_time(progress.wall_sec)}; report: {written}', highlight=False)
    if not is_whole:
        console.print('stopped; the same command goes on.')
        return STOPPED
    return FAILED if failed else 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training compare', description=DESCRIPTION)
    parser.add_argument('--config', type=str, required=True, help='YAML file of the comparison')
    parser.add_argument('--out', type=str, help='folder of the comparison (out/compare/<config>)')
    parser.add_argument('--jobs', type=int, help='runs at a time; one per GPU, or per CPU core')
    parser.add_argument('--dry-run', action='store_true', help='list the runs and leave')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    add_config_arguments(parser)
    return parser


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends
        except BlockingIOError as error:
            raise ValueError(f"'{out}': a comparison is running there already.") from error
        yield


def _prepare(runs: Sequence[PlannedRun], command: str, at_a_time: int) -> None:
    for run in runs:  # all of them before anything is changed
        run.check()
    facts = {'command': command, 'git_revision': git_revision(), 'at_a_time': at_a_time}
    for position, run in enumerate(runs):
        run.write_identity(position, facts)


def _print_plan(runs: Sequence[PlannedRun], num_workers: int, *, as_json: bool) -> None:
    rows = [(run, _status(run)) for run in runs]
    if as_json:
        listed = [{'run': run.name, 'folder': str(run.path), 'status': s} for run, s in rows]
        print(json.dumps({'runs': listed, 'at_a_time': num_workers}))
        return
    table = Table(*runs[0].names, 'seed', 'iterations', 'status')
    for run, status in rows:
        table.add_row(*run.names.values(), str(run.seed), str(run.config.iterations), status)
    print_table(Console(), table, num_names=len(runs[0].names))
    Console().print(f'{len(runs)} runs, {num_workers} at a time.', highlight=False)


def _status(run: PlannedRun) -> str:
    if changed := run.changed_entries():
        return f'another config: {", ".join(changed)}'
    if run.is_finished:
        return 'finished'
    return 'to go on with' if run.folder.state.exists() else 'new'


def _figures(
    runs: Sequence[PlannedRun], out: Path, wall_sec: float, report: Path
) -> dict[str, object]:
    entries = []
    for run in runs:
        reason = run.failure.read_text().strip() if run.failure.exists() else ''
        status = 'failed' if reason else 'finished' if run.is_finished else 'unfinished'
        facts = {**run.names, 'seed': run.seed, 'folder': str(run.path), 'status': status}
        entries.append({**facts, 'reason': reason} if reason else facts)
    return {
        'out': str(out),
        'finished': all(entry['status'] == 'finished' for entry in entries),
        'runs': entries,
        'wall_sec': round(wall_sec, 1),
        'report': str(report),
    }
