"""The command ``inspect-backpack``: what a task draws from the tasks that it knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import json
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_network, write_atomically
from mtl_perception.network.config import NetworkConfig
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.backpack.inspection import inspect_backpack, tasks_with_backpack
from mtl_training.backpack.sheet import sheet_blocks
from mtl_training.commands.data_of import add_split, data_of, of_judged_split, plain
from mtl_training.commands.dataset_arguments import ProgressBar
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.config import DataConfig
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.data.loading import build_task_datasets, evaluation_batches, with_labels
from mtl_training.data.sample import AnyDataset
from mtl_training.reporting.html import to_html

NAME = 'backpack'

DESCRIPTION = """Show what a task draws from its backpack.

Of a checkpoint that learnt a novel task with the regime backpack, on windows that it has not seen:
which prototypes of the known tasks the windows of each class are matched with, by the names of
their concepts; how often the perspectives of two tasks, and all of them together, decide the same,
and how good each is by itself; and what is mistaken for what. Written are backpack.html, a page
that needs nothing else, its pictures, and backpack.json with all figures.

Examples:
  python -m mtl_training inspect-backpack --checkpoint novel.safetensors --out out/shown
  python -m mtl_training inspect-backpack --checkpoint novel.safetensors --out out/shown \\
      --split val --task state_change --data.state_change.settings.root /data/ego4d"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    if parsed.batch_size < 1:
        raise ValueError(f'--batch-size must be positive, got {parsed.batch_size}.')
    network, checkpoint = load_network(parsed.checkpoint)
    task = _chosen_task(network.config, parsed)
    data, _ = data_of(checkpoint, parsed.checkpoint, overrides, settable=('data',))
    if task not in data:
        raise ValueError(
            f"checkpoint '{parsed.checkpoint}' does not tell the data set of task '{task}'; name "
            f'it, as in --data.{task}.dataset activity_grammar.'
        )
    out = Path(parsed.out)
    page, figures = out / f'{NAME}.html', out / f'{NAME}.json'
    for file in (page, figures):
        check_output('--out', file)
    split, dataset = of_judged_split(
        parsed.split, lambda split: _dataset(network.config, task, data[task], split)
    )
    device = find_device(parsed.device)
    with ProgressBar('inspect-backpack') as bar:
        found = inspect_backpack(
            network.to(device).eval(),
            task,
            cast(
                'Iterator[GraphBatch]',
                evaluation_batches(dataset, parsed.batch_size, workers=parsed.workers),
            ),
            device=device,
            on_batch=lambda count: bar.show(count, len(dataset)),
        )
    facts: dict[str, Any] = {'checkpoint': str(parsed.checkpoint), 'split': split}
    title = f'{Path(parsed.checkpoint).name}: the backpack of {task}, split {split}'
    write_atomically(page, to_html(sheet_blocks(found, out, title), title).encode())
    text = json.dumps({**facts, **found.facts()}, indent=1) + '\n'
    write_atomically(figures, text.encode())
    if parsed.json:
        print(json.dumps({**facts, **found.facts(), 'files': [str(page), str(figures)]}))
    else:
        print(page, figures, sep='\n')
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training inspect-backpack', description=DESCRIPTION)
    parser.add_argument(
        '--checkpoint', type=str, required=True, help='safetensors file of a task with a backpack'
    )
    parser.add_argument('--out', type=str, required=True, help='folder of the page and its files')
    parser.add_argument('--task', type=str, help='with a backpack; the only one by default')
    add_split(parser)
    parser.add_argument(
        '--batch-size', '--batch_size', type=int, default=64, help='windows per pass'
    )
    parser.add_argument('--workers', type=int, default=0, help='processes that load windows')
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _chosen_task(config: NetworkConfig, parsed: Namespace) -> str:
    tasks = tasks_with_backpack(config)
    if not tasks:
        raise ValueError(f"checkpoint '{parsed.checkpoint}' has no task with a backpack.")
    if parsed.task is None and len(tasks) > 1:
        raise ValueError(f'--task must name one of those with a backpack: {", ".join(tasks)}.')
    if parsed.task is not None and parsed.task not in tasks:
        raise ValueError(f"--task '{parsed.task}' has no backpack; have one: {', '.join(tasks)}.")
    return parsed.task or tasks[0]


def _dataset(config: NetworkConfig, task: str, data: DataConfig, split: str) -> AnyDataset:
    datasets = build_task_datasets(config, {task: plain(data, split)}, split)
    with_labels(config, datasets)
    return datasets[task]
