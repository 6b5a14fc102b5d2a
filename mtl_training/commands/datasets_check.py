"""The command ``datasets check``: what is wrong with the files of a config."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path

from mtl_perception.checkpoint import write_atomically
from mtl_training.commands.dataset_arguments import (
    add_jobs,
    make_parser,
    parse,
    ProgressBar,
    say,
)
from mtl_training.commands.output import check_output
from mtl_training.dataset_tools import check_report
from mtl_training.dataset_tools.checking import check
from mtl_training.dataset_tools.listing import chosen
from rich.console import Console

DESCRIPTION = """Decode every frame of every file of the data sets of a config.

Found are files that are missing, do not open, are damaged, hold a single frame or another number
than their container declares, ranges beyond the end, and the same content more than once: in
train and in another split, or under two labels, of which one is wrong. Frame counts that are off
by one are common and harmless: they are counted, and no problem. With --out, all of it is written
as JSON. The exit code is 0 if there is no problem, 1 if there is.

Examples:
  python -m mtl_training datasets check --config config/training/set1.yaml --out check.json
  python -m mtl_training datasets check --config config/training/folder.yaml --task action \\
      --split train --jobs 4 --data.action.settings.root videos"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = make_parser('check', DESCRIPTION)
    add_jobs(parser)
    parser.add_argument('--out', type=str, help='file of the report, JSON')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = parse(parser, arguments)
    if parsed.out is not None:
        check_output('--out', parsed.out)
    parts = chosen(config, parsed.task, parsed.split)
    with ProgressBar('check') as bar:
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
        say(console, [*lines, check_report.verdict_of(checked)])
    return 1 if check_report.num_real(checked) else 0
