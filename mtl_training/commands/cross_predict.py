"""The command ``cross-predict``: what tasks of one trunk say of each other's clips."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_network, write_atomically
from mtl_perception.network.captions import CaptionConfig
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.sentences import build_encoder, read_sentence_list, SentenceList
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.commands.data_of import add_split, data_of, of_judged_split, plain
from mtl_training.commands.dataset_arguments import ProgressBar
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.config import DataConfig
from mtl_training.cross_prediction import cross_predict, crossed_tasks
from mtl_training.cross_sheet import sheet_html, sheet_png
from mtl_training.data.loading import build_task_datasets, with_labels
from mtl_training.data.sample import ClipDataset

NAME = 'cross_prediction'

DESCRIPTION = """Show what the tasks of one trunk say of each other's clips.

Of a network that learnt classes and captions from disjoint data: the sentences that it retrieves
for clips that have a class, and the classes that it sees in clips that have a caption, beside what
is known to be true of them. Written are cross_prediction.html, a page that needs nothing else, and
cross_prediction.png. Sentences are chosen from those of the captions' data set, or from a list.

Examples:
  python -m mtl_training cross-predict --checkpoint hri.safetensors --out out/crossed
  python -m mtl_training cross-predict --checkpoint hri.safetensors --out out/crossed \\
      --split val --num 24 --sentences sentences.txt --data.action.settings.root /data/UCF101"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    for option in ('num', 'best'):
        if parsed[option] < 1:
            raise ValueError(f'--{option} must be positive, got {parsed[option]}.')
    network, checkpoint = load_network(parsed.checkpoint)
    config = checkpoint.config
    try:
        caption, classes = crossed_tasks(config)
    except ValueError as error:
        raise ValueError(f"--checkpoint '{parsed.checkpoint}': {error}") from error
    data, _ = data_of(checkpoint, parsed.checkpoint, overrides, settable=('data',))
    if missing := [task for task in (*classes, caption) if task not in data]:
        raise ValueError(
            f"checkpoint '{parsed.checkpoint}' does not tell the data set of task '{missing[0]}'; "
            f'name it, as in --data.{missing[0]}.dataset synthetic.'
        )
    files = [Path(parsed.out) / f'{NAME}.{suffix}' for suffix in ('html', 'png')]
    for file in files:
        check_output('--out', file)
    given = _given_sentences(parsed, config, caption)
    split, datasets = of_judged_split(
        parsed.split, lambda split: _datasets(config, data, split, (*classes, caption))
    )
    sentences = given or _own_sentences(datasets[caption])
    device = find_device(parsed.device)
    with ProgressBar('cross-predict') as bar:
        found = cross_predict(
            network.deploy().to(device),
            datasets,
            sentences,
            count=parsed.num,
            best=parsed.best,
            device=device,
            on_clip=bar.show,
        )
    pool = len(sentences.sentences)
    of = parsed.sentences or f'the data set of {caption}, split {split}'
    shown: dict[str, Any] = {
        'caption': caption,
        'title': f'{Path(parsed.checkpoint).name}: what tasks say of clips of others',
        'notes': [
            f'Clips of the split {split}, spread evenly over each data set; no data set knows '
            'what is true of the clips of the other.',
            f'Sentences are the nearest of a pool of {pool}, those of {Path(of).name}.',
        ],
    }
    write_atomically(files[0], sheet_html(found, **shown).encode())
    write_atomically(files[1], sheet_png(found, **shown))
    if parsed.json:
        facts = {'checkpoint': str(parsed.checkpoint), 'split': split, 'pool': pool}
        predictions = [one.facts() for one in found]
        print(json.dumps({**facts, 'files': list(map(str, files)), 'predictions': predictions}))
    else:
        print(*files, sep='\n')
    return 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training cross-predict', description=DESCRIPTION)
    parser.add_argument(
        '--checkpoint', type=str, required=True, help='safetensors file with a task of captions'
    )
    parser.add_argument('--out', type=str, required=True, help='folder of the sheets')
    add_split(parser)
    parser.add_argument('--num', type=int, default=12, help='clips of each task')
    parser.add_argument('--best', type=int, default=3, help='answers for each clip on the page')
    parser.add_argument(
        '--sentences',
        type=str,
        help='file that sentences are chosen from: text with one a line, or what embed-sentences '
        "wrote; the data set's by default",
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser


def _given_sentences(
    parsed: Namespace, config: NetworkConfig, caption: str
) -> SentenceList | None:
    if parsed.sentences is None:
        return None
    settings = settings_of(caption, config.tasks[caption])
    assert isinstance(settings, CaptionConfig)
    return read_sentence_list(parsed.sentences, build_encoder(settings.encoder, settings.dim))


def _own_sentences(dataset: Any) -> SentenceList:
    return SentenceList(tuple(dataset.sentences), dataset.targets.float().cpu().numpy())


def _datasets(
    config: NetworkConfig, data: dict[str, DataConfig], split: str, tasks: Sequence[str]
) -> dict[str, ClipDataset]:
    chosen = {task: plain(data[task], split) for task in tasks}
    datasets = build_task_datasets(config, chosen, split)
    with_labels(config, datasets)
    return {task: cast('ClipDataset', dataset) for task, dataset in datasets.items()}
