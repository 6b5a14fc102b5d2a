"""
Sizes and costs of the networks for people in frames, and what a small equal budget makes of them.

Parameters are those on the robot, batch norms folded. MACs are those of a frame, from the pixels
to boxes and heatmaps; the Pose Residual Network comes on top for every person. With ``--train``
every variant is trained on the same few rendered scenes, small ones, for as many iterations: that
tells a network that learns from one that doesn't, not which is best after a long training on
photos. A variant that is finished is not trained again, one that was interrupted goes on.

  python -m benchmarks.bench_pose_variants
  python -m benchmarks.bench_pose_variants --train 2000 --docs docs/frames.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
import json
import os
from pathlib import Path
from statistics import median
from typing import Any, cast

from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.config import NetworkConfig
from mtl_training.config import build_config, load_config, read_yaml, TrainingConfig
from mtl_training.costs import count_macs
from mtl_training.data.synthetic import ACTIVITIES
from mtl_training.run_folder import RunFolder
from mtl_training.step import count_parameters
from mtl_training.trainer import Trainer
from rich.console import Console
from rich.table import Table
import torch

from benchmarks.timing import console_for_tables, side_by_side

CONFIGS = Path(__file__).parents[1] / 'config' / 'training'
# The file of each variant, and its depth where that differs from the file's.
VARIANTS: dict[str, tuple[str, int | None]] = {
    'R50': ('pose_r50', None),
    'R101': ('pose_r50', 101),
    'R152': ('pose_r50', 152),
    'R50 slim': ('pose_r50_slim', None),
    'R18': ('pose_r18', None),
    'R18 slim': ('pose_r18_slim', None),
    'demo': ('demo_people', None),
}
STANDARD_SIZE = (480, 480)
TRAINED = ('R50', 'R50 slim', 'R18', 'R18 slim', 'demo')
Rows = dict[str, dict[str, Any]]
START, END = '<!-- variants: start -->', '<!-- variants: end -->'
HEAD = ['network', 'M parameters', 'without PRN', 'MB as float16', 'PRN MMAC a person']


def main() -> None:
    """Measure, train where asked, print a table and write JSON."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = json.loads(args.json.read_text()) if args.json.is_file() else {'variants': {}}
    rows: Rows = result['variants']
    for name in args.variants:
        rows[name] = {**rows.get(name, {}), **costs(variant_network(name))}
    if args.repetitions:
        measure_forwards(rows, args)
    result |= {'benchmark': 'pose_variants', 'torch': torch.__version__, 'variants': rows}
    write(result, args.json)
    if args.train:
        train_all(result, args)
    console_for_tables().print(table_of(rows))
    if args.docs:
        write_docs(args.docs, result)


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, help='(all; to train: fewer)')
    parser.add_argument('--repetitions', type=int, default=5, help='of forwards; 0: none')
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--quick', action='store_true', help="forwards at the demo's size only")
    parser.add_argument('--train', type=int, default=0, metavar='ITERATIONS')
    parser.add_argument('--size', type=int, nargs=2, default=[192, 256], help='to train at')
    parser.add_argument('--images', type=int, default=4000, help='to train on')
    parser.add_argument('--test-images', type=int, default=200, help='to evaluate on')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--workers', type=int, default=1, help='processes that load images')
    parser.add_argument('--runs', type=Path, default=Path('out/runs/pose_variants'))
    parser.add_argument('--docs', type=Path, help='page whose table is to be brought up to date')
    parser.add_argument('--json', type=Path, default=Path('out/bench/pose_variants.json'))
    args = parser.parse_args()
    if args.quick:
        args.repetitions = min(args.repetitions, 3)
    args.variants = args.variants or [*(TRAINED if args.train else VARIANTS)]
    return args


def variant_network(name: str) -> NetworkConfig:
    """Return the network of a variant."""
    file, depth = VARIANTS[name]
    overrides = [] if depth is None else [('network.trunks.frame.depth', depth)]
    config = load_config(CONFIGS / f'{file}.yaml', overrides).network
    return config.with_labels({'activity': ACTIVITIES})


def sizes() -> dict[str, tuple[int, int]]:
    """Return the inputs that costs are given for: the source's, and that of the demo."""
    demo = variant_network('demo').trunks['frame'].preprocessing.size
    return {f'{height}x{width}': (height, width) for height, width in (STANDARD_SIZE, demo)}


def costs(config: NetworkConfig) -> dict[str, Any]:
    """Return parameters on the robot, and multiply-accumulates by the size of the input."""
    with torch.device('meta'):
        network = MultiTaskNetwork(config).deploy()
    task = cast('str', config.task_of_kind('association'))
    head = network.heads[task]
    maps = torch.zeros(1, 17, head.config.height, head.config.width, device='meta')  # type: ignore[union-attr, arg-type]
    return {
        'parameters': count_parameters(network),
        'without_prn': count_parameters(network) - count_parameters(head),
        'megabytes': 2 * count_parameters(network) / 1e6,
        'prn_macs': count_macs(lambda: head(maps)),
        'macs': {name: count_macs(frame_forward(network, s)) for name, s in sizes().items()},
    }


def frame_forward(network: MultiTaskNetwork, size: tuple[int, int]) -> Callable[[], object]:
    """Return a run of the network on a frame, on the network's device."""
    device = next(network.parameters()).device
    frame = torch.zeros(1, 3, *size, device=device)

    def run() -> object:
        with torch.inference_mode():
            return network({'frame': frame})

    return run


def measure_forwards(rows: Rows, args: argparse.Namespace) -> None:
    """Add the milliseconds of the forwards, of all variants in turns."""
    for size, sides in [*sizes().items()][1 if args.quick else 0 :]:
        runs = {
            name: frame_forward(
                MultiTaskNetwork(variant_network(name)).deploy().to(args.device), sides
            )
            for name in args.variants
        }
        times = side_by_side(runs, args.device, args.repetitions)
        facts = {'num_threads': torch.get_num_threads(), 'load_average': os.getloadavg()[0]}
        for name, seconds in times.items():
            own = rows[name].setdefault('forward', {})
            own[size] = {'ms': 1e3 * median(seconds), 'device': args.device, **facts}


def training_config(name: str, args: argparse.Namespace) -> TrainingConfig:
    """
    Return the short training of a variant.

    Everything but backbone and heads is the same for all: scenes, iterations, optimiser, and the
    Pose Residual Network, which is not what is compared.
    """
    file, depth = VARIANTS[name]
    network = read_yaml(CONFIGS / f'{file}.yaml')['network']
    trunk, tasks = network['trunks']['frame'], network['tasks']
    del tasks['activity']
    trunk['depth'] = depth or trunk['depth']
    trunk['preprocessing'] = {'resize': args.size, 'fit': 'pad'}
    scale = args.size[0] / 192  # to a training of the demo's network that is known to work
    person = tasks['person'].setdefault('settings', {})
    person |= {'anchor_scale': 0.5 * scale, 'max_candidates': 200}
    tasks['pose']['settings'] = {
        'height': 28,
        'width': 18,
        'hidden': 256,
        'window': 7,
        'confusion': 0.5,
    }
    data = {
        'dataset': 'synthetic',
        'settings': {'cache_dir': 'out/cache', 'workers': 2},
        'train': {
            'num_images': args.images,
            'augment': True,
            'rotation_deg': 10.0,
            'scale': [0.85, 1.15],
        },
        'val': {'num_images': 60},
        'test': {'num_images': args.test_images},
    }
    stages = [
        {'tasks': ['keypoints', 'person'], 'iterations': args.train},
        {'tasks': ['pose'], 'iterations': max(1, args.train // 2), 'lr': 1e-3},
    ]
    block = {
        'network': network,
        'data': dict.fromkeys(tasks, data),
        'iterations': sum(stage['iterations'] for stage in stages),  # type: ignore[misc]
        'batch_size': args.batch_size,
        'batch_sizes': {'person': max(1, args.batch_size // 2), 'pose': 48},
        'losses': {'keypoints': {'sigma': max(2.5, 4.0 * scale), 'emphasis': 10.0}},
        'optimiser': {
            'name': 'adamw',
            'lr': 1.2e-3,
            'weight_decay': 0.02,
            'schedule': 'cosine',
            'warmup': min(60, args.train // 2),
            'clip_norm': 20.0,
        },
        'regime': {'name': 'staged', 'settings': {'stages': stages}},
        'evaluation': {'every': args.train, 'batch_size': 20, 'selection': 'score'},
        'precision': 'bf16-mixed',
        'channels_last': True,
        'checkpoint_dtype': 'float16',
        'threads': args.threads or None,
        'accelerator': 'cuda' if torch.device(args.device).type == 'cuda' else 'cpu',
        'workers': args.workers,
    }
    return build_config(block)


def train_all(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Train the variants one after the other and keep each result as soon as it is there."""
    console = Console(stderr=True)
    rows: Rows = result['variants']
    configs = {name: training_config(name, args) for name in args.variants}
    folders = {name: RunFolder(args.runs / name.lower().replace(' ', '_')) for name in configs}
    for name, config in configs.items():
        folders[name].check(config, resume=True)
    open_ones = [name for name in configs if not folders[name].summary.exists()]
    if open_ones:
        minutes = {name: expected_minutes(configs[name], args) for name in open_ones}
        parts = ', '.join(f'{name} {value:.0f}' for name, value in minutes.items())
        console.print(f'to train, about {sum(minutes.values()):.0f} min: {parts}')
    result['training'] = {
        'iterations': args.train,
        'size': list(args.size),
        'images': args.images,
        'test_images': args.test_images,
        'batch_size': args.batch_size,
    }
    for name, config in configs.items():
        if name in open_ones:
            summary = Trainer(config, folders[name].path, console).run(resume=True)
            if not summary['finished']:
                return
        summary = json.loads(folders[name].summary.read_text())
        rows[name]['trained'] = figures_of(summary)
        write(result, args.json)


def expected_minutes(config: TrainingConfig, args: argparse.Namespace) -> float:
    """Return how long a run takes if a training step costs three forwards on each batch."""
    network = MultiTaskNetwork(config.network).deploy().to(args.device)
    frames = torch.zeros(config.batch_size, 3, *args.size, device=args.device)
    forwards = {'one': lambda: network({'frame': frames})}
    seconds = median(side_by_side(forwards, args.device, 2)['one'])
    return 2 * 3 * seconds * float(args.train) / 60


def figures_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a finished run reached on the test images."""
    people = summary['test']['people']
    return {
        'box_ap50': people['person']['ap50'],
        'keypoint_ap': people['keypoints']['ap'],
        'keypoint_ap_in_true_boxes': people['pose']['ap'],
        'wall_sec': summary['wall_sec'],
    }


def gmac_columns() -> list[str]:
    """Return the headings of the costs."""
    return [f'GMAC {size}' for size in sizes()]


def cells_of(name: str, row: Mapping[str, Any]) -> list[str]:
    """Return what the tables say of a variant's size and cost."""
    gmacs = [f'{macs / 1e9:.2f}' for macs in row['macs'].values()]
    return [
        name,
        f'{row["parameters"] / 1e6:.1f}',
        f'{row["without_prn"] / 1e6:.1f}',
        f'{row["megabytes"]:.0f}',
        f'{row["prn_macs"] / 1e6:.1f}',
        *gmacs,
    ]


def table_of(rows: Rows) -> Table:
    """Return the table for the terminal."""
    shown = [name for name in VARIANTS if name in rows]
    forwards = [f'ms {size}' for size in sizes()]
    table = Table(*HEAD, *gmac_columns(), *forwards, 'box AP50', 'keypoint AP')
    for name in shown:
        row = rows[name]
        times = [row.get('forward', {}).get(size, {}).get('ms') for size in sizes()]
        trained = row.get('trained', {})
        scores = [trained.get(key) for key in ('box_ap50', 'keypoint_ap')]
        table.add_row(
            *cells_of(name, row),
            *['' if ms is None else f'{ms:.0f}' for ms in times],
            *['' if score is None else f'{score:.3f}' for score in scores],
        )
    return table


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables for the documentation: sizes and costs, and trainings where there are."""
    rows: Rows = result['variants']
    shown = [name for name in VARIANTS if name in rows]
    text = _pipes([*HEAD, *gmac_columns()], [cells_of(n, rows[n]) for n in shown])
    trained = {name: rows[name]['trained'] for name in shown if 'trained' in rows[name]}
    if not trained:
        return text
    how = result['training']
    text += (
        f'\nA small comparison with equal budgets, and no more than that: {how["iterations"]} '
        f'iterations for boxes and keypoints on {how["images"]} rendered scenes of '
        f'{how["size"][0]}x{how["size"][1]}, from random weights, one seed; '
        f'{how["test_images"]} other scenes to test on.\n\n'
    )
    keys = ('box_ap50', 'keypoint_ap', 'keypoint_ap_in_true_boxes')
    head = ['network', 'box AP50', 'keypoint AP', 'in true boxes']
    body = [[name, *[f'{row[k]:.3f}' for k in keys]] for name, row in trained.items()]
    return text + _pipes(head, body)


def _pipes(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *body]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def write_docs(path: Path, result: Mapping[str, Any]) -> None:
    """Replace what stands between the two marks of a page."""
    before, start, rest = path.read_text().partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"'{path}' must have the marks {START} and {END}.")
    path.write_text(f'{before}{START}\n{markdown(result)}{END}{after}')


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write the results so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
