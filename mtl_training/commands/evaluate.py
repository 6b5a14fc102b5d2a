"""The command ``evaluate``: a checkpoint, as the robot runs it, on clips it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from mtl_perception.checkpoint import Checkpoint, load_network
from mtl_perception.network.config import from_mapping
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.arguments import OneLineParser, Override, split_overrides
from mtl_training.config import DataConfig, read_yaml, set_entry, SPLITS
from mtl_training.data.loading import build_dataset, with_labels
from mtl_training.data.sample import ClipDataset
from mtl_training.evaluation import evaluate
from mtl_training.metrics import Evaluation
from mtl_training.report import draw_confusions, print_evaluation
from rich.console import Console
from rich.progress import Progress, TaskID
import torch

DESCRIPTION = """Evaluate a checkpoint as the robot runs it.

The data sets are those that the checkpoint was trained with, on a split it has not seen.

Examples:
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors --num-clips 500 --json
  python -m mtl_training evaluate --checkpoint mine.safetensors --data.action.test.seed 9"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    if parsed.batch_size < 1 or (parsed.num_clips is not None and parsed.num_clips < 1):
        raise ValueError('--batch-size and --num-clips must be positive.')
    network, checkpoint = load_network(parsed.checkpoint)
    datasets = _datasets(checkpoint, parsed, overrides)
    evaluation = _run(network, datasets, parsed)
    if parsed.picture:
        draw_confusions(evaluation, Path(parsed.picture))
    if parsed.json:
        facts = {'checkpoint': str(parsed.checkpoint), 'split': parsed.split}
        print(json.dumps({**facts, **evaluation.details()}))
    else:
        title = f'{parsed.checkpoint} on split {parsed.split}'
        print_evaluation(Console(), evaluation, title)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training evaluate', description=DESCRIPTION)
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    parser.add_argument('--split', type=str, default='test', help=f'one of {", ".join(SPLITS)}')
    parser.add_argument('--num-clips', type=int, help='clips per task; all by default')
    parser.add_argument('--batch-size', type=int, default=32, help='clips per forward pass')
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load clips')
    parser.add_argument('--picture', type=str, help='PNG to draw the confusion matrices into')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _run(
    network: MultiTaskNetwork, datasets: dict[str, ClipDataset], parsed: Namespace
) -> Evaluation:
    device = _device(parsed.device)
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        total = sum(len(dataset) for dataset in datasets.values())
        shown = bar.add_task('evaluate', total=total) if bar else TaskID(0)
        return evaluate(
            network.deploy().to(device),
            datasets,
            batch_size=parsed.batch_size,
            device=device,
            workers=parsed.workers,
            on_batch=lambda _, clips: bar.advance(shown, clips) if bar else None,
        )


def _datasets(
    checkpoint: Checkpoint, parsed: Namespace, overrides: Sequence[Override]
) -> dict[str, ClipDataset]:
    merged: dict[str, Any] = {}
    if trained := checkpoint.training.get('config'):
        merged['data'] = trained.get('data')
    for dotted, value in overrides:
        if dotted.partition('.')[0] != 'data':
            raise ValueError(f"'--{dotted}': only entries of data can be set here.")
        set_entry(merged, dotted, read_yaml(value) if dotted == 'data' else value)
    if not isinstance(merged.get('data'), dict):
        raise ValueError(
            f"checkpoint '{parsed.checkpoint}' does not tell its data sets; name them, as in "
            '--data.action.dataset synthetic.'
        )
    clips = {} if parsed.num_clips is None else {'num_clips': parsed.num_clips}
    datasets = {}
    for task, block in merged['data'].items():
        if task not in checkpoint.config.tasks:
            known = ', '.join(checkpoint.config.tasks)
            raise ValueError(f"the checkpoint has no task '{task}'; its tasks: {known}.")
        data = from_mapping(DataConfig, block, f'data.{task}')
        # Clips as they are, also those that training varies.
        plain = {'augment': False} if 'augment' in data.of_split(parsed.split) else {}
        datasets[task] = build_dataset(
            task, data, parsed.split, checkpoint.config, **clips, **plain
        )
    with_labels(checkpoint.config, datasets)
    return datasets


def _device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f"--device '{name}' can't be used: {reason}") from error
    return device
