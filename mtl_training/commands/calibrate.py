"""The command ``calibrate``: teach a finished checkpoint to say 'nothing'."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
import json

from jsonargparse import Namespace
from mtl_perception.checkpoint import Checkpoint, load_network, save_checkpoint
from mtl_perception.network.config import to_mapping
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.data_of import add_split, data_of, of_judged_split
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.config import RelevanceConfig
from mtl_training.relevance import build_sources, calibrate, SceneEvaluation, Sources
from mtl_training.report import print_scenes
from rich.console import Console
from rich.progress import Progress, TaskID

DESCRIPTION = """Teach a finished checkpoint which clips are none of a task's own.

A relevance head per task is fitted on which data set each clip of the training split came from,
and all scores are calibrated on the validation split; the weights stay as they are. Figures on
these two splits flatter, and say so.

Backgrounds, data sets whose clips belong to no task, help wherever the robot sees such scenes:
  --relevance.background.<name>.dataset    folder, synthetic, ... as for a task
  --relevance.background.<name>.settings.<setting>    its settings
A rendered background is called nothing: idle people and empty places.

Examples:
  python -m mtl_training calibrate --checkpoint best.safetensors --out hri.safetensors
  python -m mtl_training calibrate --checkpoint best.safetensors --out hri.safetensors \\
      --relevance.background.nothing.dataset folder \\
      --relevance.background.nothing.settings.root videos_of_nothing
  python -m mtl_training calibrate --checkpoint best.safetensors --out hri.safetensors \\
      --relevance.background.nothing.dataset synthetic"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    if parsed.batch_size < 1:
        raise ValueError('--batch-size must be positive.')
    network, checkpoint = load_network(parsed.checkpoint)
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    data, config = data_of(checkpoint, parsed.checkpoint, overrides)
    clip_tasks = {n for n, task in network.config.tasks.items() if task.kind == 'classification'}
    if missing := sorted(clip_tasks - data.keys()):
        raise ValueError(f"data must name a data set for each task, got none for '{missing[0]}'.")

    def build(split: str) -> Sources:
        return build_sources(network.config, data, config.background, split)

    # First what may be refused.
    parsed.split, judged = of_judged_split(parsed.split, build)
    sources = {parsed.split: judged}
    sources |= {split: build(split) for split in ('train', 'val') if split != parsed.split}
    fitted, scenes = _run(network, sources, config, parsed)
    _save(parsed, fitted, checkpoint, config, scenes)
    if parsed.json:
        facts = {'checkpoint': parsed.checkpoint, 'out': parsed.out, 'split': parsed.split}
        print(json.dumps({**facts, 'relevance': scenes.summary()}))
    else:
        print_scenes(Console(), scenes, f'{parsed.out} on mixed scenes of split {parsed.split}')
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training calibrate', description=DESCRIPTION)
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    parser.add_argument('--out', type=str, required=True, help='where to write the new one')
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    add_split(parser)
    parser.add_argument(
        '--batch-size', '--batch_size', type=int, default=32, help='clips per forward pass'
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load clips')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _run(
    network: MultiTaskNetwork,
    sources: dict[str, Sources],
    config: RelevanceConfig,
    parsed: Namespace,
) -> tuple[MultiTaskNetwork, SceneEvaluation]:
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        shown = bar.add_task('calibrate', total=None) if bar else TaskID(0)
        return calibrate(
            network,
            sources,
            config,
            split=parsed.split,
            batch_size=parsed.batch_size,
            device=find_device(parsed.device),
            workers=parsed.workers,
            on_batch=lambda _, clips: bar.advance(shown, clips) if bar else None,
        )


def _save(
    parsed: Namespace,
    network: MultiTaskNetwork,
    checkpoint: Checkpoint,
    config: RelevanceConfig,
    scenes: SceneEvaluation,
) -> None:
    # How the weights were trained stays true; what they reached on a split gets one entry more.
    trained = checkpoint.training.get('config') or {}
    reached = {**checkpoint.metrics.get(parsed.split, {}), 'relevance': scenes.summary()}
    save_checkpoint(
        parsed.out,
        network,
        metrics={**checkpoint.metrics, parsed.split: reached},
        training={
            **checkpoint.training,
            'config': {**trained, 'relevance': to_mapping(config)},
        },
        git_revision=checkpoint.git_revision,
        dtype=trained.get('checkpoint_dtype'),
    )
