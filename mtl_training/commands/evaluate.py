"""The command ``evaluate``: a checkpoint, as the robot runs it, on what it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
import json
from pathlib import Path
import sys
from typing import cast

from jsonargparse import Namespace
from mtl_perception.checkpoint import Checkpoint, load_network
from mtl_perception.network.config import CLIP_KINDS, FRAME_KINDS
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.data_of import add_split, data_of, fewer_images, of_judged_split, plain
from mtl_training.commands.output import check_output
from mtl_training.config import DataConfig
from mtl_training.criteria import build_criteria
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.loading import build_task_datasets, with_labels
from mtl_training.data.sample import AnyDataset
from mtl_training.data.videos.problems import list_problems
from mtl_training.evaluation import evaluate
from mtl_training.frame_evaluation import MIN_PERSON_SCORE
from mtl_training.metrics import Evaluation
from mtl_training.people_report import people_details, print_people
from mtl_training.people_sheet import draw_people
from mtl_training.relevance import (
    build_sources,
    collect_features,
    evaluate_scenes,
    SceneEvaluation,
    Sources,
)
from mtl_training.report import (
    draw_confusions,
    draw_reliability,
    print_evaluation,
    print_scenes,
)
from mtl_training.test_time_augmentation import TestTimeAugmentation
from rich.console import Console
from rich.progress import Progress, TaskID
import torch
from torch import nn

DESCRIPTION = """Evaluate a checkpoint as the robot runs it.

The data sets are those that the checkpoint was trained with, on a split it has not seen: test,
or val where a data set has no test split. One with relevance heads (see calibrate) is judged on
mixed scenes too: clips of all tasks and of none.
Of captions it tells how high up the true sentence is among the sentences of the data set, of
pictures of several classes the mean average precision, of videos the accuracy over their clips.
People in frames are judged end to end: COCO's figures of boxes and poses, and what they are said
to do, from the poses that were found.

Examples:
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors
  python -m mtl_training evaluate --checkpoint checkpoints/demo.safetensors --num-clips 500 --json
  python -m mtl_training evaluate --checkpoint mine.safetensors --data.action.test.seed 9
  python -m mtl_training evaluate --checkpoint mine.safetensors --num-images 50 \\
      --scales 0.5 1 1.5 --flip --people people.png --picture confusion.png"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    counts = (parsed.batch_size, parsed.num_clips, parsed.num_images)
    if any(count is not None and count < 1 for count in counts):
        raise ValueError('--batch-size, --num-clips and --num-images must be positive.')
    if not 0 <= parsed.min_person_score <= 1:
        raise ValueError(f'--min-person-score must be from 0 to 1, got {parsed.min_person_score}.')
    network, checkpoint = load_network(parsed.checkpoint)
    # Nothing is fitted here: of relevance, only the scenes that it is judged on.
    settable = ('data', 'relevance.background')
    data, relevance = data_of(checkpoint, parsed.checkpoint, overrides, settable=settable)
    # Mixed scenes need other clips than those of one task.
    tasks = checkpoint.config.tasks
    clips = [task for task in data if tasks[task].kind == 'classification']
    has_scenes = bool(network.relevance) and len({*clips, *relevance.background}) > 1
    _check_pictures(parsed, has_scenes=has_scenes)
    augmentation = TestTimeAugmentation(tuple(parsed.scales), parsed.flip)

    def build(split: str) -> tuple[dict[str, AnyDataset], Sources]:
        scenes = has_scenes and build_sources(
            network.config, data, relevance.background, split, **_fewer(parsed)
        )
        return _datasets(checkpoint, parsed, data, split), scenes or {}

    parsed.split, (datasets, sources) = of_judged_split(parsed.split, build)
    sheet = _sheet_of(datasets, checkpoint) if parsed.people else None
    losses = (checkpoint.training.get('config') or {}).get('losses') or {}
    criteria = build_criteria(checkpoint.config, losses)
    evaluation = _run(network, datasets, parsed, criteria, augmentation)
    scenes = _run_scenes(network, sources, parsed) if sources else None
    list_problems(lambda line: print(line, file=sys.stderr))
    if parsed.picture and evaluation.confusions:
        draw_confusions(evaluation, Path(parsed.picture))
    if sheet is not None:
        device = find_device(parsed.device)
        on_device = network.deploy().to(device)
        path = Path(parsed.people)
        draw_people(on_device, sheet, path, device=device, augmentation=augmentation)
    if parsed.reliability and scenes:
        draw_reliability(scenes, Path(parsed.reliability))
    if parsed.json:
        facts = {'checkpoint': str(parsed.checkpoint), 'split': parsed.split}
        judged = {'relevance': scenes.summary()} if scenes else {}
        judged |= people_details(evaluation, checkpoint.config)
        print(json.dumps({**facts, **evaluation.details(), **judged}))
    else:
        title = f'{parsed.checkpoint} on split {parsed.split}'
        print_people(Console(), evaluation, checkpoint.config, title)
        print_evaluation(Console(), evaluation, title)
        if scenes:
            title = f'{parsed.checkpoint} on mixed scenes of split {parsed.split}'
            print_scenes(Console(), scenes, title)
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training evaluate', description=DESCRIPTION)
    parser.add_argument('--checkpoint', type=str, required=True, help='safetensors file')
    add_split(parser)
    parser.add_argument('--num-clips', type=int, help='clips per task; all by default')
    parser.add_argument('--num-images', type=int, help='images of frame tasks; all by default')
    parser.add_argument(
        '--batch-size', '--batch_size', type=int, default=32, help='clips or images per pass'
    )
    parser.add_argument(
        '--scales',
        type=float,
        nargs='+',
        default=[1.0],
        help='of the images that people are looked for in; several are averaged',
    )
    parser.add_argument(
        '--flip', action='store_true', help='look for people in the mirror image too'
    )
    parser.add_argument(
        '--min-person-score',
        type=float,
        default=MIN_PERSON_SCORE,
        help='of the boxes of people whose activities are judged, as the parameter of the robot: '
        'below, a person counts as not found',
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--workers', type=int, default=0, help='processes that load clips')
    parser.add_argument('--picture', type=str, help='PNG to draw the confusion matrices into')
    parser.add_argument('--people', type=str, help='PNG to draw frames and their people into')
    parser.add_argument('--reliability', type=str, help='PNG to draw confidences against truth')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _check_pictures(parsed: Namespace, *, has_scenes: bool) -> None:
    if parsed.reliability and not has_scenes:
        raise ValueError('--reliability needs a checkpoint with relevance; see calibrate.')
    for option in ('picture', 'people', 'reliability'):
        if path := getattr(parsed, option):
            check_output(f'--{option}', path)


def _sheet_of(datasets: dict[str, AnyDataset], checkpoint: Checkpoint) -> FrameDataset:
    """Return the images for a sheet of people: those with the longest history."""
    if checkpoint.config.task_of_kind('detection') is None:
        raise ValueError('--people needs a checkpoint with a task of kind detection.')
    for kind in ('activity', 'keypoints', 'detection'):
        if (task := checkpoint.config.task_of_kind(kind)) in datasets:
            return cast('FrameDataset', datasets[str(task)])
    raise ValueError('--people needs a data set of images for one of the frame tasks.')


def _run(
    network: MultiTaskNetwork,
    datasets: dict[str, AnyDataset],
    parsed: Namespace,
    criteria: nn.ModuleDict,
    augmentation: TestTimeAugmentation,
) -> Evaluation:
    device = find_device(parsed.device)
    console = Console(stderr=True)
    with Progress(console=console) if console.is_terminal else nullcontext() as bar:
        # Frame tasks that share their images see them once.
        shared = {id(getattr(data, 'shared', data)): data for data in datasets.values()}
        total = sum(map(len, shared.values()))
        shown = bar.add_task('evaluate', total=total) if bar else TaskID(0)
        return evaluate(
            network.deploy().to(device),
            datasets,
            criteria=criteria.to(device),
            augmentation=augmentation,
            min_person_score=parsed.min_person_score,
            batch_size=parsed.batch_size,
            device=device,
            workers=parsed.workers,
            on_batch=lambda _, clips: bar.advance(shown, clips) if bar else None,
        )


def _datasets(
    checkpoint: Checkpoint, parsed: Namespace, data: dict[str, DataConfig], split: str
) -> dict[str, AnyDataset]:
    network = checkpoint.config
    # Equal data stay equal: frame tasks of the same data share their images.
    limited = {
        task: _limited(config, parsed, network.tasks[task].kind, split)
        for task, config in data.items()
    }
    datasets = build_task_datasets(network, limited, split)
    with_labels(network, datasets)
    return {task: datasets[task] for task in data}


def _limited(data: DataConfig, parsed: Namespace, kind: str, split: str) -> DataConfig:
    if kind in FRAME_KINDS:
        return fewer_images(plain(data, split), split, parsed.num_images)
    # Of windows of features only these are made of clips.
    has_clips = kind in CLIP_KINDS or data.dataset == 'clip_features'
    return plain(data, split, **(_fewer(parsed) if has_clips else {}))


def _fewer(parsed: Namespace) -> dict[str, int]:
    return {} if parsed.num_clips is None else {'num_clips': parsed.num_clips}


def _run_scenes(network: MultiTaskNetwork, sources: Sources, parsed: Namespace) -> SceneEvaluation:
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
