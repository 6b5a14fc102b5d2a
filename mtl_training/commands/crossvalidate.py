"""The command ``crossvalidate``: the classifier of activities, on folds of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import Any, cast

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_network
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.data_of import data_of, fewer_images, plain
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.config import DataConfig, SPLITS
from mtl_training.crossvalidation import CrossValidation, gather_people
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.loading import build_dataset
from mtl_training.inputs import TaskInputs
from mtl_training.metrics import Evaluation
from mtl_training.pose_metrics import across_folds, ActivityReport, pooled
from mtl_training.predicted_poses import find_all_poses, FoundPoses
from mtl_training.report import draw_confusions
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

DESCRIPTION = """Cross-validate the classifier of activities, as the source judges it.

The network finds the poses of everybody in a data set once; for each fold a fresh classifier with
the settings of the checkpoint's is trained on the poses of the other folds and judged on this one.
People of one image, scene or video are never in two folds. The split should be one that the
network was not trained on, hence val: it finds better poses in pictures that it knows. Who is not
found is not judged; how many that are is told.

Examples:
  python -m mtl_training crossvalidate --checkpoint hri.safetensors
  python -m mtl_training crossvalidate --checkpoint hri.safetensors --truth --folds 10
  python -m mtl_training crossvalidate --checkpoint hri.safetensors --picture confusion.png \\
      --split test --data.activity.dataset mpii --data.activity.settings '{root: mpii}'"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    settings = CrossValidation(
        folds=parsed.folds,
        epochs=parsed.epochs,
        batch_size=parsed.batch_size,
        lr=parsed.lr,
        seed=parsed.seed,
    )
    if parsed.num_images is not None and parsed.num_images < 1:
        raise ValueError(f'--num-images must be positive, got {parsed.num_images}.')
    if parsed.picture:
        check_output('--picture', parsed.picture)
    network, checkpoint = load_network(parsed.checkpoint)
    task = _task(checkpoint.config, parsed.task)
    data, _ = data_of(checkpoint, parsed.checkpoint, overrides, settable=('data',))
    if task not in data:
        raise ValueError(f"data must name a data set for '{task}', as --data.{task}.dataset mpii.")
    if parsed.split == 'train' and not parsed.truth:
        print(
            'warning: --split train: the network was trained on these pictures, and finds better '
            'poses in them than in new ones.',
            file=sys.stderr,
        )
    chosen = fewer_images(plain(data[task], parsed.split), parsed.split, parsed.num_images)
    reports, counts = _run(network, task, chosen, settings, parsed)
    if parsed.picture:
        confusions = {f'{task}, all folds': pooled(reports).confusion}
        draw_confusions(Evaluation(confusions), Path(parsed.picture))
    if parsed.json:
        print(json.dumps({**_details(reports), **counts, 'split': parsed.split, 'task': task}))
    else:
        _print(reports, counts, f'{task} of {parsed.checkpoint} on split {parsed.split}')
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training crossvalidate', description=DESCRIPTION)
    defaults = CrossValidation()
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    parser.add_argument('--task', type=str, help='of kind activity; the only one by default')
    parser.add_argument(
        '--split', type=str, default='val',
        help=f'one of {", ".join(SPLITS)}; that of training has the pictures that the network '
        'learnt to find people in',
    )  # fmt: skip
    parser.add_argument('--truth', action='store_true', help='the annotated poses, not found ones')
    parser.add_argument('--folds', type=int, default=defaults.folds, help='of the data set')
    parser.add_argument('--epochs', type=int, default=defaults.epochs, help='per fold')
    parser.add_argument('--lr', type=float, default=defaults.lr, help='learning rate of Adam')
    parser.add_argument(
        '--batch-size', '--batch_size', type=int, default=defaults.batch_size,
        help='people per step, and samples per forward pass',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0, help='of the folds and of the training')
    parser.add_argument('--num-images', type=int, help='samples; all by default')
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load images')
    parser.add_argument('--picture', type=str, help='PNG to draw the confusion matrix into')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _task(network: NetworkConfig, name: str | None) -> str:
    task = network.task_of_kind('activity')
    if task is None:
        raise ValueError('crossvalidate needs a checkpoint with a task of kind activity.')
    if name is not None and name != task:
        raise ValueError(f"--task must be '{task}', the task of kind activity, got '{name}'.")
    return task


def _run(
    network: MultiTaskNetwork,
    task: str,
    data: DataConfig,
    settings: CrossValidation,
    parsed: Namespace,
) -> tuple[list[ActivityReport], dict[str, int]]:
    config = network.config
    head = settings_of(task, config.tasks[task])
    truth, pixels = (
        cast('FrameDataset', build_dataset(task, data, parsed.split, config, images=images))
        for images in (0, 0 if parsed.truth else head.history)
    )
    device = find_device(parsed.device)
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        found: list[FoundPoses] | None = None
        if not parsed.truth:
            shown = bar.add_task('poses', total=len(pixels)) if bar else TaskID(0)
            found = find_all_poses(
                network.deploy().to(device),
                pixels,
                TaskInputs(config).to(device),
                batch_size=parsed.batch_size,
                device=device,
                workers=parsed.workers,
                on_batch=lambda count: bar.advance(shown, count) if bar else None,
            )
        people = gather_people(truth, head, found)
        total = settings.folds * settings.epochs
        epochs = bar.add_task('folds', total=total) if bar else TaskID(0)
        reports = settings.run(
            people,
            head,
            truth.labels,
            device=device,
            on_epoch=lambda: bar.advance(epochs) if bar else None,
        )
    counts = {'people': len(people.poses), 'known': people.num_known}
    return reports, {'samples': len(truth), **counts}


def _details(reports: Sequence[ActivityReport]) -> dict[str, Any]:
    total = pooled(reports)
    return {
        'mean': {name: asdict(figure) for name, figure in across_folds(reports).items()},
        'folds': [{**r.summary(), 'people': r.confusion.num_samples} for r in reports],
        'pooled': total.summary(),
        'per_class': total.per_class(),
        'labels': list(total.confusion.labels),
        'confusion': total.confusion.counts.tolist(),
    }


def _print(reports: Sequence[ActivityReport], counts: dict[str, int], title: str) -> None:
    console = Console()
    caption = (
        f'found {counts["people"]} of {counts["known"]} people in {counts["samples"]} samples'
    )
    table = Table(title=title, caption=caption)
    figures = across_folds(reports)
    for column in ('fold', *figures, 'people'):
        table.add_column(column, justify='left' if column == 'fold' else 'right', no_wrap=True)
    for number, report in enumerate(reports):
        shares = [f'{value:.1%}' for value in report.summary().values()]
        table.add_row(str(number), *shares, str(report.confusion.num_samples))
    table.add_section()
    shown = [f'{f.mean:.1%} ± {f.deviation or 0:.1%}' for f in figures.values()]
    table.add_row('mean', *shown, '')
    console.print(table)
