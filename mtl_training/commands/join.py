"""The command ``join``: one checkpoint of several that were trained apart."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path

from mtl_perception.checkpoint import save_checkpoint, STORAGE_DTYPES
from mtl_training.arguments import OneLineParser
from mtl_training.commands.output import check_output
from mtl_training.joining import common_dtype, join_checkpoints
from mtl_training.step import count_parameters
from rich.console import Console
from rich.table import Table

SAME = 'same'
DTYPES = (SAME, *STORAGE_DTYPES)

DESCRIPTION = """Join checkpoints into one, with the trunks, heads and relevance of all.

Their trunks and tasks must have different names. Nothing is retrained: every output stays what it
was, and the robot runs one network. The figures of all parts are kept, and evaluate finds the data
sets of all tasks.

A memory trunk that was trained on features of a clip task says with --source which one that is:
the robot then remembers them as the clip trunk goes.

Examples:
  python -m mtl_training join --checkpoints clips.safetensors people.safetensors \\
      --out hri.safetensors
  python -m mtl_training join --checkpoints hri.safetensors memory.safetensors \\
      --source action --out robot.safetensors
  python -m mtl_training join --checkpoints clips.safetensors people.safetensors \\
      --out hri.safetensors --dtype float16 --overwrite"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parsed = _parser().parse_args(list(arguments))
    if parsed.dtype not in DTYPES:
        raise ValueError(f'--dtype must be one of {[*DTYPES]}, got {parsed.dtype!r}.')
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    joined = join_checkpoints(parsed.checkpoints, parsed.source)
    dtype = common_dtype(parsed.checkpoints) if parsed.dtype == SAME else parsed.dtype
    save_checkpoint(
        parsed.out,
        joined.network,
        metrics=joined.metrics,
        training=joined.training
        | {'config': joined.training['config'] | {'checkpoint_dtype': dtype}},
        git_revision=joined.git_revision,
        dtype=dtype,
    )
    tasks = {name: task.trunk for name, task in joined.network.config.tasks.items()}
    if parsed.json:
        parts = {part['file']: part['tasks'] for part in joined.training['joined']}
        size = count_parameters(joined.network)
        print(json.dumps({'out': parsed.out, 'tasks': tasks, 'parts': parts, 'parameters': size}))
        return 0
    table = Table('task', 'kind', 'trunk', 'from', title=f'{parsed.out}')
    for part in joined.training['joined']:
        for task in part['tasks']:
            kind = joined.network.config.tasks[task].kind
            table.add_row(task, kind, tasks[task], Path(part['file']).name)
    Console().print(table)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training join', description=DESCRIPTION)
    parser.add_argument(
        '--checkpoints', type=str, nargs='+', required=True, help='two or more safetensors files'
    )
    parser.add_argument('--out', type=str, required=True, help='where to write the joined one')
    parser.add_argument(
        '--source', type=str, help='clip task whose features the memory trunk looks at'
    )
    parser.add_argument(
        '--dtype',
        type=str,
        default=SAME,
        help=f'of the stored weights: {", ".join(STORAGE_DTYPES)}, or same: that of all parts, '
        'float32 where they differ',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser
