"""The command ``audit``: training clips whose labels are probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
import json
from pathlib import Path

from mtl_training.arguments import OneLineParser
from mtl_training.audit import audit, AuditedRun, TaskAudit
from mtl_training.audit_report import draw_contact_sheet, summary_of, table_of, write_csv
from rich.console import Console
from rich.progress import Progress, TaskID

DESCRIPTION = """Find the training clips whose labels are probably wrong.

The run must have been trained with the weighting instance_level. Its tables say how much of each
clip's label the network could not explain; the clips are ranked by that, worst first (equal ones,
by how improbable the network finds the label), and written to audit_<task>.csv and, as pictures,
to audit_<task>.png.

Examples:
  python -m mtl_training train --config config/training/label_noise.yaml
  python -m mtl_training audit --checkpoint out/runs/label_noise
  python -m mtl_training audit --checkpoint out/runs/mine --task action --top 100"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parsed = _parser().parse_args(list(arguments))
    if parsed.top < 1:
        raise ValueError(f'--top must be positive, got {parsed.top}.')
    run = AuditedRun(parsed.checkpoint)
    out = Path(parsed.out) if parsed.out else run.folder.path
    out.mkdir(parents=True, exist_ok=True)
    audits = _audit(run, run.tasks(parsed.task), parsed.top)
    for found in audits:
        write_csv(found, out / f'audit_{found.task}.csv')
        draw_contact_sheet(found, out / f'audit_{found.task}.png')
    if parsed.json:
        facts = {'checkpoint': str(run.checkpoint), 'out': str(out)}
        tasks = {found.task: summary_of(found) for found in audits}
        print(json.dumps({**facts, 'tasks': tasks}))
    else:
        _print(audits, out)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training audit', description=DESCRIPTION)
    parser.add_argument(
        '--checkpoint',
        type=str,
        required=True,
        help="the run's folder, whose best is asked, or a checkpoint in it",
    )
    parser.add_argument('--task', type=str, help='one task; all by default')
    parser.add_argument('--top', type=int, default=50, help='clips to look at')
    parser.add_argument('--out', type=str, help="folder of the files; the run's by default")
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _audit(run: AuditedRun, tasks: Sequence[str], top: int) -> list[TaskAudit]:
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        total = sum(len(run.candidates(task, top)) for task in tasks)
        shown = bar.add_task('audit', total=total) if bar else TaskID(0)
        return [
            audit(run, task, top=top, on_batch=lambda n: bar.advance(shown, n) if bar else None)
            for task in tasks
        ]


def _print(audits: Sequence[TaskAudit], out: Path) -> None:
    console = Console()
    for found in audits:
        console.print(table_of(found))
        if found.found is not None:
            console.print(
                f'{found.task}: {found.num_corrupted} labels were made wrong on purpose; '
                f'{found.found:.1%} of the {found.num_corrupted} clips trusted least are theirs.'
            )
    console.print(f'audit_<task>.csv and audit_<task>.png are in {out}', soft_wrap=True)
