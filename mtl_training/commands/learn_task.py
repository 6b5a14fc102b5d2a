"""The command ``learn-task``: a task of your own from a few clips, in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
import time
from typing import Any

from jsonargparse import Namespace
from mtl_perception.checkpoint import Checkpoint, load_network, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.names import check_name
from mtl_training.arguments import OneLineParser
from mtl_training.backpack.clips import find_clips, LabelledClips, read_clips
from mtl_training.backpack.comparing import BACKPACK, compare, Comparison, METHODS
from mtl_training.backpack.novel_task import (
    graph_of,
    learn,
    matched_concepts,
    memory_alone,
    memory_trunk,
    NovelConfig,
    with_novel_task,
)
from mtl_training.backpack.report import summary_of, write_report
from mtl_training.commands.dataset_arguments import ProgressBar, say
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.dataset_tools.processes import num_processors
from mtl_training.features.extraction import FeatureExtractor
from mtl_training.features.models import model_of_checkpoint
from mtl_training.features.windows import WindowConfig
from mtl_training.joining import common_dtype
from mtl_training.provenance import git_revision
import numpy as np
from rich.console import Console
import torch

RATE_HZ = 30.0
DESCRIPTION = """Teach a checkpoint a task of your own from a few clips, in minutes.

The clips lie in one folder per class, <videos>/<class>/<video>. What the checkpoint's clip trunk
sees of them goes to its memory trunk, which stays as it is, and to a new task of recognition,
which asks the known tasks and their prototypes (Peirone et al., EgoPack, CVPR 2024). Data of the
known tasks is not needed, and they do bit for bit what they did.

First the same is done without some of the clips, fold by fold, to tell how good the task is on
clips that it has not seen: with 1, 2, 4, ... clips of each class, against fine-tuning (a new head
on the same trunk) and chance. The report has these figures, the confusions and what each class
resembles. Then the task is learnt from all clips, and --out gets everything that the checkpoint
holds and the task; the robot runs it as any other.

The checkpoint needs a memory trunk with a backpack: see build-backpack.

Examples:
  python -m mtl_training learn-task --checkpoint robot.safetensors --videos my_clips \\
      --name greeting --out robot_greeting.safetensors
  python -m mtl_training learn-task --checkpoint robot.safetensors --videos my_clips \\
      --name greeting --out robot_greeting.safetensors --folds 10 --iterations 500"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    started = time.monotonic()
    parsed = _parser().parse_args(list(arguments))
    network, checkpoint = load_network(parsed.checkpoint)
    _check(parsed, network.config)
    trunk = memory_trunk(network.config, parsed.checkpoint)
    classes, listed = find_clips(parsed.videos)
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    clips = _read(parsed, network.config, trunk, classes, listed)
    novel = _novel(parsed, network.config, trunk, clips)
    memory = memory_alone(network, trunk)
    with ProgressBar('folds') as bar:
        found = compare(memory, trunk, novel, clips, num_folds=parsed.folds, on_run=bar.show)
    grown = with_novel_task(network, trunk, novel, asks=True)
    learn(grown, novel, clips.rows, clips.labels)
    _check_same(network, grown)
    matches = matched_concepts(grown, novel, clips.rows)
    report = Path(parsed.report or f'{Path(parsed.out).with_suffix("")}_report')
    concepts = graph_of(network.config.trunks[trunk]).concepts
    write_report(report, novel, clips, found, matches, concepts)
    _save(parsed, grown, checkpoint, novel, summary_of(clips, found))
    _tell(parsed, clips, found, report, time.monotonic() - started)
    return 0


def _check(parsed: Namespace, config: NetworkConfig) -> None:
    check_name('task', parsed.name)
    if parsed.name in config.tasks:
        raise ValueError(
            f"--name '{parsed.name}' is a task of the checkpoint already, its tasks: "
            f'{[*config.tasks]}.'
        )
    if parsed.folds < 2:
        raise ValueError(f'--folds must be at least 2, got {parsed.folds}.')
    if parsed.workers < 0:
        raise ValueError(f'--workers must not be negative, got {parsed.workers}.')
    if parsed.seconds is not None and not 0 < parsed.seconds < float('inf'):
        raise ValueError(f'--seconds must be positive, got {parsed.seconds}.')


def _read(
    parsed: Namespace,
    config: NetworkConfig,
    trunk: str,
    classes: tuple[str, ...],
    listed: Sequence[tuple[Any, int]],
) -> LabelledClips:
    graph, device = graph_of(config.trunks[trunk]), find_device(parsed.device)
    model = model_of_checkpoint(parsed.checkpoint, graph.source, device)
    windows = WindowConfig(
        frames=max(1, round(model.window_frames)),
        stride=max(1, round(graph.stride_seconds * RATE_HZ)),
        rate_hz=RATE_HZ,
        sampled=model.num_frames,
    )
    extractor = FeatureExtractor(model, windows, device)
    return read_clips(classes, listed, extractor, workers=parsed.workers)


def _novel(
    parsed: Namespace, config: NetworkConfig, trunk: str, clips: LabelledClips
) -> NovelConfig:
    num_rows = int(np.median([len(rows) for rows in clips.rows]))
    if parsed.seconds is not None:
        num_rows = round(parsed.seconds / graph_of(config.trunks[trunk]).stride_seconds)
    return NovelConfig(
        name=parsed.name,
        classes=clips.classes,
        num_rows=max(1, num_rows),
        iterations=parsed.iterations,
        seed=parsed.seed,
    )


def _check_same(before: MultiTaskNetwork, after: MultiTaskNetwork) -> None:
    now = after.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.state_dict().items())


def _save(
    parsed: Namespace,
    network: MultiTaskNetwork,
    checkpoint: Checkpoint,
    novel: NovelConfig,
    figures: Mapping[str, Any],
) -> None:
    accuracy = figures['accuracy'][BACKPACK]
    judged = {'accuracy': {novel.name: accuracy}, 'samples': figures['clips'], 'score': accuracy}
    metrics = dict(checkpoint.metrics)
    val = dict(metrics.get('val', {}))
    metrics['val'] = {**val, 'segments': {**val.get('segments', {}), novel.name: judged}}
    learnt = {
        'task': novel.name,
        'classes': list(novel.classes),
        'iterations': novel.iterations,
        'seed': novel.seed,
        'git_revision': git_revision(),
        **figures,
    }
    history = [*checkpoint.training.get('learnt', []), learnt]
    save_checkpoint(
        parsed.out,
        network,
        metrics=metrics,
        training={**checkpoint.training, 'learnt': history},
        git_revision=checkpoint.git_revision,
        dtype=common_dtype([parsed.checkpoint]),
    )


def _tell(
    parsed: Namespace, clips: LabelledClips, found: Comparison, report: Path, seconds: float
) -> None:
    if parsed.json:
        facts = {'out': parsed.out, 'report': str(report), 'failed': clips.failed}
        print(json.dumps({**facts, 'seconds': round(seconds, 1), **summary_of(clips, found)}))
        return
    shares = ', '.join(f'{m} {found.overall(m, clips.labels):.1%}' for m in METHODS)
    lines = [
        f"task '{parsed.name}', {len(clips.classes)} classes, {len(clips.labels)} clips; on clips "
        f'not learnt from: {shares}, chance {found.chance:.1%}',
        f'{parsed.out}: the checkpoint with the task; {report / "report.html"}: the report; '
        f'{seconds:.0f} s',
    ]
    lines += [f"left out: '{path}': {reason}" for path, reason in clips.failed.items()]
    say(Console(), lines)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training learn-task', description=DESCRIPTION)
    parser.add_argument(
        '--checkpoint', type=str, required=True, help='with clip trunk, memory trunk and backpack'
    )
    parser.add_argument(
        '--videos', type=str, required=True, metavar='FOLDER', help='a folder per class'
    )
    parser.add_argument('--name', type=str, required=True, help='of the task')
    parser.add_argument('--out', type=str, required=True, help='where to write the checkpoint')
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    parser.add_argument(
        '--report', type=str, metavar='DIR', help='of the report (default: <out>_report)'
    )
    parser.add_argument(
        '--folds',
        type=int,
        default=5,
        help='parts of the clips of which each is held out once, at most the clips of the '
        'smallest class (default: %(default)s)',
    )
    parser.add_argument('--iterations', type=int, default=200, help='(default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument(
        '--seconds',
        type=float,
        help='length of a window of features (default: that of the clip in the middle)',
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument(
        '--workers',
        type=int,
        default=num_processors(),
        help='processes that read videos; 0: a thread (default: %(default)s)',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser
