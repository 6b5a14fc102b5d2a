"""The command ``build-backpack``: prototypes for a memory trunk that was trained without."""

from __future__ import annotations

from collections.abc import Sequence
import json

from jsonargparse import Namespace
from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_training.arguments import OneLineParser, split_overrides
from mtl_training.backpack.novel_task import graph_of
from mtl_training.backpack.recording import with_prototypes
from mtl_training.commands.data_of import data_of, plain
from mtl_training.commands.dataset_arguments import ProgressBar
from mtl_training.commands.evaluate import find_device
from mtl_training.commands.output import check_output
from mtl_training.data.loading import build_dataset
from mtl_training.joining import common_dtype

DESCRIPTION = """Record what the known tasks of a memory trunk see of each of their labels.

The windows of the training splits of all its tasks of recognition go through the network, and each
known task keeps the mean of its features for every label: its prototypes (Peirone et al., EgoPack,
CVPR 2024). Nothing is trained. With them learn-task teaches the checkpoint new tasks, without the
data of the known ones; the regime backpack records its own prototypes as it trains.

The data sets are those that the checkpoint was trained with, or are given:
  --data.<task>.dataset, --data.<task>.settings.<setting>, ...   as for a training run

Examples:
  python -m mtl_training build-backpack --checkpoint runs/memory/best.safetensors \\
      --out memory.safetensors
  python -m mtl_training join --checkpoints checkpoints/demo.safetensors memory.safetensors \\
      --source action --out robot.safetensors"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    rest, overrides = split_overrides(arguments)
    parsed = _parser().parse_args(rest)
    if parsed.batch_size < 1:
        raise ValueError(f'--batch-size must be at least 1, got {parsed.batch_size}.')
    network, checkpoint = load_network(parsed.checkpoint)
    check_output('--out', parsed.out, overwrite=parsed.overwrite)
    device = find_device(parsed.device)
    trunk, known = _known(parsed, network.config)
    data, _ = data_of(checkpoint, parsed.checkpoint, overrides, settable=['data'])
    tasks = [
        name
        for name in network.config.tasks_of(trunk)
        if network.config.tasks[name].kind == 'recognition' and name in data
    ]
    if not tasks:
        raise ValueError(
            f"trunk '{trunk}' of '{parsed.checkpoint}' must have a task of recognition with data, "
            f'whose labels become concepts; its tasks: {network.config.tasks_of(trunk)}.'
        )
    datasets = {
        task: build_dataset(
            task, plain(data[task], 'train'), 'train', network.config, augment=False
        )
        for task in tasks
    }
    total = sum(map(len, datasets.values()))
    with ProgressBar('windows') as bar:
        grown = with_prototypes(
            network,
            trunk,
            datasets,
            known,
            device=device,
            batch_size=parsed.batch_size,
            on_windows=lambda count: bar.show(count, total),
        )
    save_checkpoint(
        parsed.out,
        grown,
        metrics=checkpoint.metrics,
        training=checkpoint.training,
        git_revision=checkpoint.git_revision,
        dtype=common_dtype([parsed.checkpoint]),
    )
    concepts = graph_of(grown.config.trunks[trunk]).concepts
    if parsed.json:
        facts = {'out': parsed.out, 'trunk': trunk, 'known': [*known], 'concepts': [*concepts]}
        print(json.dumps({**facts, 'windows': total}))
    else:
        print(
            f'{parsed.out}: {len(concepts)} prototypes each of {", ".join(known)}, from {total} '
            'windows'
        )
    return 0


def _known(parsed: Namespace, config: NetworkConfig) -> tuple[str, list[str]]:
    """Return the memory trunk and its tasks that get prototypes."""
    trunks = [*config.trunks_of('features')]
    if len(trunks) != 1:
        raise ValueError(
            f"'{parsed.checkpoint}' must have one memory trunk, of backbone temporal_graph, got "
            f'{trunks}.'
        )
    if (sharing := config.trunks[trunks[0]].sharing) != 'hard':
        raise ValueError(
            f"the memory trunk '{trunks[0]}' of '{parsed.checkpoint}' must have sharing 'hard': "
            f"tasks ask each other about the same nodes, got '{sharing}'."
        )
    tasks = config.tasks_of(trunks[0])
    asking = [name for name in tasks if settings_of(name, config.tasks[name]).backpack is not None]
    if asking:
        raise ValueError(
            f"task '{asking[0]}' of '{parsed.checkpoint}' asks the prototypes that there are: "
            'others would be strange to it.'
        )
    known = parsed.known or tasks
    if strange := [name for name in known if name not in tasks]:
        raise ValueError(f"--known '{strange[0]}' is no task of its memory trunk: {tasks}.")
    return trunks[0], known


def _parser() -> OneLineParser:
    parser = OneLineParser(prog='python -m mtl_training build-backpack', description=DESCRIPTION)
    parser.add_argument('--checkpoint', type=str, required=True, help='with a memory trunk')
    parser.add_argument('--out', type=str, required=True, help='where to write the checkpoint')
    parser.add_argument(
        '--overwrite', action='store_true', help='write --out also where there is a file'
    )
    parser.add_argument(
        '--known', type=str, nargs='+', help='tasks that get prototypes (default: all)'
    )
    parser.add_argument('--device', type=str, default='auto', help='auto, cpu, cuda, ...')
    parser.add_argument(
        '--batch-size',
        '--batch_size',
        type=int,
        default=64,
        help='windows per pass (default: %(default)s)',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser
