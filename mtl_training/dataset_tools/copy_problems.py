"""What was wrong with the sources of a copy: kept in a file beside it, and told in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path

from mtl_perception.checkpoint import write_atomically
from mtl_training.dataset_tools.check_report import counted
from mtl_training.dataset_tools.copy_plan import CopyPlan
from mtl_training.dataset_tools.transcoding import Copied

FILE = 'problems.jsonl'
_MAX_TOLD = 5
# What became of a source, worst first, and how that is told of several.
_ACTIONS = {
    'left out': 'left out, not a frame decodes',
    'missing': 'missing',
    'damaged': 'damaged, copied as far as they decode',
}


@dataclass(frozen=True, slots=True)
class CopyProblem:
    """What became of a source, and why."""

    action: str
    task: str
    split: str
    source: str
    reason: str


def problems_of(plan: CopyPlan, found: Sequence[Copied], out: Path) -> list[CopyProblem]:
    """
    Return what is wrong with the sources, worst first, and write it to a file of the copy.

    Of a copy that was kept, it is what was wrong when it was made.
    """
    path = out / FILE
    known: dict[str, CopyProblem] = {}
    if path.exists():
        lines = path.read_text(errors='surrogateescape').splitlines()
        known = {one.source: one for one in (CopyProblem(**json.loads(line)) for line in lines)}
    problems = [*_problems(plan, found, known)]
    problems.sort(key=lambda problem: [*_ACTIONS].index(problem.action))
    rows = ''.join(json.dumps(asdict(problem)) + '\n' for problem in problems)
    write_atomically(path, rows.encode())
    return problems


def _problems(
    plan: CopyPlan, found: Sequence[Copied], known: dict[str, CopyProblem]
) -> Iterator[CopyProblem]:
    for row, copied in zip(plan.rows, found):
        task, split, source = row['task'], row['split'], row['source']
        if copied.problem:
            action = 'left out' if copied.status == 'failed' else 'damaged'
            yield CopyProblem(action, task, split, source, copied.problem)
        elif copied.status == 'kept' and source in known and known[source].action == 'damaged':
            yield CopyProblem('damaged', task, split, source, known[source].reason)
    for where, missing in plan.missing.items():
        task, split = where.split(', ')
        for name in missing:
            yield CopyProblem('missing', task, split, name, 'is not there')


def told(problems: Sequence[CopyProblem], num_sources: int, out: Path) -> list[str]:
    """Return how many there are of each kind, the first few of them, and where all of them are."""
    if not problems:
        return [f'{counted(num_sources, "source")}, nothing is wrong with any.']
    lines = []
    for action, meaning in _ACTIONS.items():
        some = [problem for problem in problems if problem.action == action]
        if some:
            lines.append(f'{counted(len(some), "source")} of {num_sources:,}: {meaning}:')
            lines += [f"  {action}: '{one.source}': {one.reason}" for one in some[:_MAX_TOLD]]
            if len(some) > _MAX_TOLD:
                lines.append(f'  and {len(some) - _MAX_TOLD:,} more')
    return [*lines, f'All of them are listed in {out / FILE}']
