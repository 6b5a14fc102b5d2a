"""The command line: train, evaluate, scenes, list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
import json
from pathlib import Path
import sys
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from mtl_perception.checkpoint import Checkpoint, load_network
from mtl_perception.network.backbones import BACKBONES
from mtl_perception.network.config import from_mapping
from mtl_perception.network.sharing import SHARING
from mtl_training.arguments import (
    add_config_arguments,
    fixed_overrides,
    OneLineParser,
    Override,
    split_overrides,
)
from mtl_training.config import (
    DataConfig,
    load_config,
    read_yaml,
    set_entry,
    SPLITS,
)
from mtl_training.data.loading import build_dataset, DATASETS, with_labels
from mtl_training.data.sample import ClipDataset
from mtl_training.data.synthetic.command import add_scenes_arguments, run_scenes
from mtl_training.evaluation import evaluate
from mtl_training.regimes import REGIMES
from mtl_training.report import draw_confusions, print_evaluation
from mtl_training.run_folder import RunFolder
from mtl_training.tables import summary
from mtl_training.trainer import Trainer
from mtl_training.weighting import WEIGHTINGS
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
import torch

INTERRUPTED = 130

TRAIN_HELP = """Train a network.

Examples:
  python -m mtl_training train --config config/training/quick.yaml
  python -m mtl_training train --config config/training/quick.yaml --out out/runs/mine \\
      --optimiser.lr 3e-4 --network.trunks.clip.sharing hard
  python -m mtl_training train --resume --out out/runs/mine

The run's folder gets best.safetensors (for the robot), last.safetensors, state.safetensors (for
--resume), config.yaml, metrics.jsonl, TensorBoard events, summary.json and pictures."""

EVALUATE_HELP = """Evaluate a checkpoint as the robot runs it.

The data sets are those that the checkpoint was trained with, on a split it has not seen.

Examples:
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors --num-clips 500 --json
  python -m mtl_training evaluate --checkpoint mine.safetensors --data.action.test.seed 9"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :return: The exit code: 0, 2 for wrong input, 130 for a run that was stopped early.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        overrides: list[Override] = []
        if arguments[:1] in (['train'], ['evaluate']):
            arguments, overrides = split_overrides(arguments)
        parsed = _build_parser().parse_args(arguments)
        return _COMMANDS[parsed.command](parsed[parsed.command], overrides)
    except (ValueError, OSError) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _build_parser() -> ArgumentParser:
    parser = OneLineParser(
        prog='python -m mtl_training',
        description='Train and evaluate the network of mtl_perception.',
    )
    commands = parser.add_subcommands(dest='command')
    commands.add_subcommand('train', _train_parser(), help='train a network')
    commands.add_subcommand('evaluate', _evaluate_parser(), help='evaluate a checkpoint')
    scenes = OneLineParser(description='Render synthetic scenes of people with their truth.')
    add_scenes_arguments(scenes)
    commands.add_subcommand('scenes', scenes, help='render synthetic scenes')
    listing = OneLineParser(description='Name every method and data set.')
    listing.add_argument('--json', action='store_true', help='print one JSON object')
    commands.add_subcommand('list', listing, help='name every method and data set')
    return parser


def _train_parser() -> ArgumentParser:
    parser = OneLineParser(description=TRAIN_HELP)
    parser.add_argument('--config', type=str, help='YAML file; a resumed run has its own')
    parser.add_argument('--out', type=str, help="the run's folder (out/runs/<config>)")
    parser.add_argument('--resume', action='store_true', help='go on where the run stopped')
    parser.add_argument('--json', action='store_true', help='print the summary as JSON')
    add_config_arguments(parser)
    return parser


def _evaluate_parser() -> ArgumentParser:
    parser = OneLineParser(description=EVALUATE_HELP)
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    parser.add_argument('--split', type=str, default='test', help=f'one of {", ".join(SPLITS)}')
    parser.add_argument('--num-clips', type=int, help='clips per task; all by default')
    parser.add_argument('--batch-size', type=int, default=32, help='clips per forward pass')
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load clips')
    parser.add_argument('--picture', type=str, help='draw the confusion matrices: PNG')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _train(arguments: Namespace, overrides: Sequence[Override]) -> int:
    overrides = [*fixed_overrides(arguments.as_dict()), *overrides]
    if arguments.config is None and not (arguments.resume and arguments.out):
        raise ValueError('--config is missing; only --resume with --out works without.')
    if arguments.config is None:
        config = load_config(RunFolder(arguments.out).config, overrides)
    else:
        config = load_config(arguments.config, overrides)
    out = arguments.out or Path('out', 'runs', Path(arguments.config).stem)
    trainer = Trainer(config, out, Console(stderr=True))
    figures = trainer.run(resume=arguments.resume)
    if arguments.json:
        print(json.dumps(figures))
    else:
        _print_summary(figures)
    return 0 if figures['finished'] else INTERRUPTED


def _print_summary(figures: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(title=f'run {figures["out"]}', show_header=False)
    for key, value in figures.items():
        if not isinstance(value, dict):
            table.add_row(key, f'{value:.3f}' if isinstance(value, float) else str(value))
    for task, accuracy in figures.get('test', {}).get('accuracy', {}).items():
        table.add_row(f'test {task}', f'{accuracy:.1%}')
    console.print(table)


def _evaluate(arguments: Namespace, overrides: Sequence[Override]) -> int:
    network, checkpoint = load_network(arguments.checkpoint)
    device = _device(arguments.device)
    datasets = _evaluation_data(checkpoint, arguments, overrides)
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        total = sum(len(dataset) for dataset in datasets.values())
        task = bar.add_task('evaluate', total=total) if bar else TaskID(0)
        evaluation = evaluate(
            network.deploy().to(device),
            datasets,
            batch_size=arguments.batch_size,
            device=device,
            workers=arguments.workers,
            on_batch=lambda _, clips: bar.advance(task, clips) if bar else None,
        )
    if arguments.picture:
        draw_confusions(evaluation, Path(arguments.picture))
    if arguments.json:
        facts = {'checkpoint': str(arguments.checkpoint), 'split': arguments.split}
        print(json.dumps({**facts, **evaluation.details()}))
    else:
        title = f'{arguments.checkpoint} on split {arguments.split}'
        print_evaluation(Console(), evaluation, title)
    return 0


def _evaluation_data(
    checkpoint: Checkpoint, arguments: Namespace, overrides: Sequence[Override]
) -> dict[str, ClipDataset]:
    merged: dict[str, Any] = {}
    if trained := checkpoint.training.get('config'):
        merged['data'] = trained.get('data')  # read from JSON for this call: ours to change
    for dotted, value in overrides:
        if dotted.partition('.')[0] != 'data':
            raise ValueError(f"'--{dotted}': only entries of data can be set here.")
        if dotted == 'data' and isinstance(value, str):
            value = read_yaml(value)
        set_entry(merged, dotted, value)
    if not isinstance(merged.get('data'), dict):
        raise ValueError(
            f"Checkpoint '{arguments.checkpoint}' does not tell its data sets; name them with "
            '--data, as in --data.action.dataset synthetic.'
        )
    clips = {} if arguments.num_clips is None else {'num_clips': arguments.num_clips}
    datasets = {}
    for task, block in merged['data'].items():
        if task not in checkpoint.config.tasks:
            known = ', '.join(checkpoint.config.tasks)
            raise ValueError(f"the checkpoint has no task '{task}'; its tasks: {known}.")
        data = from_mapping(DataConfig, block, f'data.{task}')
        datasets[task] = build_dataset(task, data, arguments.split, checkpoint.config, **clips)
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


def _scenes(arguments: Namespace, overrides: Sequence[Override]) -> int:
    return int(run_scenes(arguments) or 0)


TABLES: dict[str, Mapping[str, Any]] = {
    'backbones': BACKBONES,
    'sharing': SHARING,
    'weighting': WEIGHTINGS,
    'regimes': REGIMES,
    'datasets': DATASETS,
}


def _list(arguments: Namespace, overrides: Sequence[Override]) -> int:
    listing = {
        kind: {name: summary(entry) for name, entry in entries.items()}
        for kind, entries in TABLES.items()
    }
    if arguments.json:
        print(json.dumps(listing))
        return 0
    table = Table('kind', 'name', 'what it is')
    for kind, entries in listing.items():
        for name, text in entries.items():
            table.add_row(kind, name, text)
        table.add_section()
    Console().print(table)
    return 0


_COMMANDS = {'train': _train, 'evaluate': _evaluate, 'scenes': _scenes, 'list': _list}
