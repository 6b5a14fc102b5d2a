"""The command ``evaluate``: a checkpoint, as the robot runs it, on clips it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
import json
from pathlib import Path

from jsonargparse import Namespace
from mtl_perception.checkpoint import Checkpoint, load_network
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.data_of import data_of
from mtl_training.commands.output import check_output
from mtl_training.config import DataConfig, SPLITS
from mtl_training.data.loading import build_dataset, with_labels
from mtl_training.data.sample import ClipDataset
from mtl_training.evaluation import evaluate
from mtl_training.metrics import Evaluation
from mtl_training.relevance import (
    build_sources,
    collect_features,
    evaluate_scenes,
    SceneEvaluation,
)
from mtl_training.report import (
    draw_confusions,
    draw_reliability,
    print_evaluation,
    print_scenes,
)
from rich.console import Console
from rich.progress import Progress, TaskID
import torch

DESCRIPTION = """Evaluate a checkpoint as the robot runs it.

The data sets are those that the checkpoint was trained with, on a split it has not seen. One with
relevance heads (see calibrate) is judged on mixed scenes too: clips of all tasks and of none.

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
    # Nothing is fitted here: of relevance, only the scenes that it is judged on.
    settable = ('data', 'relevance.background')
    data, relevance = data_of(checkpoint, parsed.checkpoint, overrides, settable=settable)
    # Mixed scenes need other clips than those of one task.
    has_scenes = bool(network.relevance) and len({**data, **relevance.background}) > 1
    _check_pictures(parsed, has_scenes=has_scenes)
    datasets = _datasets(checkpoint, parsed, data)
    evaluation = _run(network, datasets, parsed)
    scenes = _run_scenes(network, data, relevance.background, parsed) if has_scenes else None
    if parsed.picture:
        draw_confusions(evaluation, Path(parsed.picture))
    if parsed.reliability and scenes:
        draw_reliability(scenes, Path(parsed.reliability))
    if parsed.json:
        facts = {'checkpoint': str(parsed.checkpoint), 'split': parsed.split}
        judged = {'relevance': scenes.summary()} if scenes else {}
        print(json.dumps({**facts, **evaluation.details(), **judged}))
    else:
        title = f'{parsed.checkpoint} on split {parsed.split}'
        print_evaluation(Console(), evaluation, title)
        if scenes:
            title = f'{parsed.checkpoint} on mixed scenes of split {parsed.split}'
            print_scenes(Console(), scenes, title)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training evaluate', description=DESCRIPTION)
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    parser.add_argument('--split', type=str, default='test', help=f'one of {", ".join(SPLITS)}')
    parser.add_argument('--num-clips', type=int, help='clips per task; all by default')
    parser.add_argument(
        '--batch-size', '--batch_size', type=int, default=32, help='clips per forward pass'
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load clips')
    parser.add_argument('--picture', type=str, help='PNG to draw the confusion matrices into')
    parser.add_argument('--reliability', type=str, help='PNG to draw confidences against truth')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _check_pictures(parsed: Namespace, *, has_scenes: bool) -> None:
    if parsed.reliability and not has_scenes:
        raise ValueError('--reliability needs a checkpoint with relevance; see calibrate.')
    for option in ('picture', 'reliability'):
        if path := getattr(parsed, option):
            check_output(f'--{option}', path)


def _run(
    network: MultiTaskNetwork, datasets: dict[str, ClipDataset], parsed: Namespace
) -> Evaluation:
    device = find_device(parsed.device)
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
    checkpoint: Checkpoint, parsed: Namespace, data: dict[str, DataConfig]
) -> dict[str, ClipDataset]:
    datasets = {}
    for task, config in data.items():
        # Clips as they are, also those that training varies.
        plain = {'augment': False} if 'augment' in config.of_split(parsed.split) else {}
        datasets[task] = build_dataset(
            task, config, parsed.split, checkpoint.config, **_fewer(parsed), **plain
        )
    with_labels(checkpoint.config, datasets)
    return datasets


def _fewer(parsed: Namespace) -> dict[str, int]:
    return {} if parsed.num_clips is None else {'num_clips': parsed.num_clips}


def _run_scenes(
    network: MultiTaskNetwork,
    data: dict[str, DataConfig],
    background: dict[str, DataConfig],
    parsed: Namespace,
) -> SceneEvaluation:
    sources = build_sources(network.config, data, background, parsed.split, **_fewer(parsed))
    device = find_device(parsed.device)
    features = collect_features(
        network.deploy().to(device),
        sources,
        batch_size=parsed.batch_size,
        device=device,
        workers=parsed.workers,
    )
    return evaluate_scenes(network, features, split=parsed.split)


def find_device(name: str) -> torch.device:
    """
    Return a device by its name; auto is a GPU where there is one.

    :raises ValueError: If there is no such device.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f"--device '{name}' can't be used: {reason}") from error
    return device
