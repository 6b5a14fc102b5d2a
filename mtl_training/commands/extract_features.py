"""The command ``extract-features``: videos to features on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from mtl_training.arguments import OneLineParser
from mtl_training.commands.dataset_arguments import say
from mtl_training.commands.evaluate import find_device
from mtl_training.config import parse_value
from mtl_training.data.videos.registry import VIDEO_SETS
from mtl_training.dataset_tools.processes import num_processors
from mtl_training.features.extraction import DTYPES, extract, Extracted, FeatureExtractor
from mtl_training.features.folder import FeatureFolder
from mtl_training.features.models import (
    DEFAULT,
    FeatureModel,
    model_of_checkpoint,
    model_of_torchvision,
    NONE,
    VIDEO_MODELS,
)
from mtl_training.features.progress import VideoProgress
from mtl_training.features.sources import find_videos, Source, videos_of_dataset
from mtl_training.features.windows import WindowConfig
from rich.console import Console

DESCRIPTION = """Make features of videos: one row for each window of time.

All videos below a folder, or those of a data set, are brought to one rate by their time stamps,
cut into windows and seen by a frozen network. <out>/<path of the video>.npy gets the features,
float [windows, numbers], of which row i is of the frames [i * stride, i * stride + window); where
the windows don't end with the video, the last one ends there and begins earlier. A video that is
shorter than a window gives one row. <out>/features.json says what they are of and
<out>/manifest.csv names the videos.

Started again, it goes on where it was stopped: what is there, of a video that has not changed,
stays. A folder of features of another model or of other windows is refused. Videos that can't be
read are listed at the end with the reason, and the exit code is then 1.

The network is the clip trunk of a checkpoint, up to the head of a task, which sees as many frames
of a window as it was trained with, spread evenly; or one of torchvision without its classifier.
Checkpoints are never unpickled.

Examples:
  python -m mtl_training extract-features --videos recordings --out features \\
      --checkpoint checkpoints/demo.safetensors
  python -m mtl_training extract-features --videos recordings --out features_swin \\
      --model swin3d_t --dtype float16 --batch-size 16 --workers 8
  python -m mtl_training extract-features --dataset ucf101 --settings '{root: data/ucf101}' \\
      --out features_ucf101 --model r3d_18 --weights r3d_18-b3b3357e.pth"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parsed = _parser().parse_args(list(arguments))
    _check(parsed)
    sources = _sources(parsed)
    device = find_device(parsed.device)
    if parsed.checkpoint is not None:
        model = model_of_checkpoint(parsed.checkpoint, parsed.task, device)
    else:
        model = model_of_torchvision(parsed.model, parsed.weights, device)
    extractor = FeatureExtractor(
        model,
        _windows(parsed, model),
        device,
        dtype=parsed.dtype,
        batch_size=parsed.batch_size,
    )
    with FeatureFolder(parsed.out, extractor.facts()) as folder, VideoProgress(sources) as shown:
        result = extract(extractor, sources, folder, workers=parsed.workers, progress=shown)
    _tell(parsed, sources, extractor, result)
    return 1 if result.failed else 0


def _windows(parsed: Namespace, model: FeatureModel) -> WindowConfig:
    window = parsed.window
    if window is None:
        window = max(1, round(model.window_frames * parsed.rate / 30))
    return WindowConfig(
        frames=window, stride=parsed.stride, rate_hz=parsed.rate, sampled=model.num_frames
    )


def _sources(parsed: Namespace) -> list[Source]:
    if parsed.videos is not None:
        return find_videos(parsed.videos)
    settings = {} if parsed.settings is None else parse_value(parsed.settings)
    if not isinstance(settings, Mapping):
        raise ValueError(f'--settings must be a mapping as in YAML, got {parsed.settings!r}.')
    return videos_of_dataset(parsed.dataset, settings, parsed.splits or ())


def _check(parsed: Namespace) -> None:
    for one, other in (('videos', 'dataset'), ('checkpoint', 'model')):
        given = [name for name in (one, other) if parsed[name] is not None]
        if len(given) != 1:
            raise ValueError(
                f'either --{one} or --{other} must be given, got {"both" if given else "neither"}.'
            )
    for name, needed in (('settings', 'dataset'), ('splits', 'dataset'), ('task', 'checkpoint')):
        if parsed[name] is not None and parsed[needed] is None:
            raise ValueError(f'--{name} goes with --{needed}, which is not given.')
    if parsed.weights != DEFAULT and parsed.model is None:
        raise ValueError('--weights goes with --model, which is not given.')
    if parsed.workers < 0:
        raise ValueError(f'--workers must not be negative, got {parsed.workers}.')
    if Path(parsed.out).is_file():
        raise ValueError(f"--out must name a folder, '{parsed.out}' is a file.")


def _tell(
    parsed: Namespace, sources: Sequence[Source], extractor: FeatureExtractor, result: Extracted
) -> None:
    kept = len(sources) - len(result.stored) - len(result.failed)
    if parsed.json:
        facts: dict[str, Any] = {'out': parsed.out, 'stored': len(result.stored), 'kept': kept}
        facts |= {'windows': result.num_windows, 'dim': extractor.dim}
        print(json.dumps({**facts, 'repaired': result.repaired, 'failed': result.failed}))
        return
    lines = [
        f'{parsed.out}: features of {len(result.stored)} videos written, {kept} were there; '
        f'{result.num_windows} windows, {extractor.dim} numbers each'
    ]
    lines += [f"repaired: '{path}': {reason}" for path, reason in result.repaired.items()]
    if result.failed:
        lines.append(f'Without features, {len(result.failed)} of {len(sources)} videos:')
        lines += [f"  '{path}': {reason}" for path, reason in result.failed.items()]
    say(Console(), lines)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training extract-features', description=DESCRIPTION)
    parser.add_argument('--videos', type=str, metavar='FOLDER', help='all videos below it')
    parser.add_argument(
        '--dataset', type=str, help=f'instead of --videos: {", ".join(VIDEO_SETS)}'
    )
    parser.add_argument('--settings', type=str, help="of --dataset, such as '{root: data/ucf101}'")
    parser.add_argument(
        '--splits', type=str, nargs='+', help='of --dataset (default: those that there are)'
    )
    parser.add_argument('--out', type=str, required=True, help='folder of the features')
    parser.add_argument('--checkpoint', type=str, help='whose clip trunk makes them')
    parser.add_argument(
        '--task',
        type=str,
        help='of --checkpoint (default: the one whose features its memory trunk remembers, or all '
        'where they are the same)',
    )
    parser.add_argument(
        '--model', type=str, help=f'instead of --checkpoint: {", ".join(VIDEO_MODELS)}'
    )
    parser.add_argument(
        '--weights',
        type=str,
        default=DEFAULT,
        help=f'of --model: {DEFAULT}, the published ones; {NONE}, random ones; or a file '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--window',
        type=int,
        help='frames (default: as long as the clips of the checkpoint, 32 at 30 Hz of a --model)',
    )
    parser.add_argument(
        '--stride', type=int, default=16, help='frames between windows (default: %(default)s)'
    )
    parser.add_argument(
        '--rate', type=float, default=30.0, help='frames a second (default: %(default)s)'
    )
    parser.add_argument(
        '--dtype',
        type=str,
        default='float32',
        help=f'{" or ".join(DTYPES)} (default: %(default)s)',
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument(
        '--batch-size',
        '--batch_size',
        type=int,
        default=8,
        help='windows per pass (default: %(default)s)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=num_processors(),
        help='processes that read videos; 0: a thread (default: %(default)s)',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser
