"""
Cost of the two passes of learned weight sharing against running every assignment by itself.

Two tasks at uniform probabilities, where the assignments have least in common. Both sides draw
the same assignments and run in turns within one process, so that a busy machine slows both; their
features are compared. The goals, with all residual blocks routed, are ratios of at most 0.45 for
the assignment step (a forward pass) and 0.72 for the weight step (forward and backward).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
import json
from pathlib import Path
from statistics import median
from typing import Any, cast

from mtl_perception.network.backbones import ResNet3d
from mtl_perception.network.sharing import LearnedWeightSharing
from rich.console import Console
from rich.table import Table
import torch
from torch import nn, Tensor

from benchmarks.timing import timed

LIMITS = {'assignment': 0.45, 'weights': 0.72}
TASKS = ('action', 'gesture')
ROUTED = {
    'all blocks': ('layer1', 'layer2', 'layer3', 'layer4'),
    'layer3 and layer4': ('layer3', 'layer4'),
}
Features = Mapping[str, Tensor]
Way = Callable[[LearnedWeightSharing, Mapping[str, Tensor]], Features]


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    title = f'Two tasks, {args.population} assignments each'
    table = Table('routed', 'step', 'loop ms', 'tree ms', 'ratio', 'goal', title=title)
    for row in result['rows']:
        goal = f'<= {row["limit"]}: {"met" if row["met"] else "missed"}' if row['limit'] else ''
        times = (f'{row["loop_ms"]:.1f}', f'{row["tree_ms"]:.1f}')
        table.add_row(row['routed'], row['step'], *times, f'{row["ratio"]:.3f}', goal)
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    summary = (__doc__ or '').strip().split('\n')[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument('--width', type=int, default=16, help='64 is r3d_18')
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--size', type=int, default=56, help='height and width in pixels')
    parser.add_argument('--batch', type=int, default=4, help='clips per task')
    parser.add_argument('--population', type=int, default=8)
    parser.add_argument('--repetitions', type=int, default=9)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--norm', default='batch', help='batch (live in the weight step) or group')
    parser.add_argument('--quick', action='store_true', help='small clips, 5 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.width, args.batch, args.repetitions = 12, 2, 5
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the median times of both sides and the median of the ratios of each round."""
    rows = []
    for routed, stages in ROUTED.items():
        sharing = LearnedWeightSharing(
            lambda: ResNet3d(width=args.width, norm=args.norm),
            TASKS,
            private_stages=stages,
            population_search=args.population,
            population_train=args.population,
        ).to(args.device)
        for step in LIMITS:
            limit = LIMITS[step] if routed == 'all blocks' else None
            figures = compare(sharing, step, args)
            met = limit is None or figures['ratio'] <= limit
            rows.append({'routed': routed, 'step': step, **figures, 'limit': limit, 'met': met})
    return {
        'benchmark': 'learned_weight_sharing',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'rows': rows,
    }


def compare(
    sharing: LearnedWeightSharing, step: str, args: argparse.Namespace
) -> dict[str, float]:
    """Return the times of a step done by the trees and by the loop, in turns."""
    shape = (args.batch, 3, args.frames, args.size, args.size)
    ways: dict[str, Way] = {'tree': by_trees, 'loop': partial(by_loop, args.population)}
    run = assignment_step if step == 'assignment' else weight_step
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(args.repetitions + 1):
        clips = {task: torch.randn(shape, device=args.device) for task in TASKS}
        features: dict[str, Features] = {}
        # Turned round each time, so that no side always follows the other.
        for name in list(ways)[:: 1 if repetition % 2 else -1]:
            torch.manual_seed(repetition)
            features[name], elapsed = timed(partial(run, sharing, clips, ways[name]), args.device)
            if repetition:  # the first round warms up
                times[name].append(elapsed)
        for task in TASKS:
            torch.testing.assert_close(
                features['tree'][task], features['loop'][task], rtol=1e-3, atol=1e-4
            )
    return {
        'tree_ms': 1e3 * median(times['tree']),
        'loop_ms': 1e3 * median(times['loop']),
        'ratio': median(tree / loop for tree, loop in zip(times['tree'], times['loop'])),
    }


def assignment_step(
    sharing: LearnedWeightSharing, clips: Mapping[str, Tensor], way: Way
) -> Features:
    """Return the features that a search step compares; the probabilities stay uniform."""
    found: Features = {}

    def losses(features: Features) -> dict[str, Tensor]:
        nonlocal found
        found = dict(features)
        return {}

    if way is by_trees:
        sharing.search(clips, losses)
        return found
    sharing.eval()
    with torch.no_grad():
        return way(sharing, clips)


def weight_step(sharing: LearnedWeightSharing, clips: Mapping[str, Tensor], way: Way) -> Features:
    """Return the features of a training pass, after its backward pass."""
    sharing.train()
    sharing.zero_grad()
    features = way(sharing, clips)
    torch.stack([x.square().mean() for x in features.values()]).sum().backward()
    return {task: x.detach() for task, x in features.items()}


def by_trees(sharing: LearnedWeightSharing, clips: Mapping[str, Tensor]) -> Features:
    """Return the features as the method computes them, without merging the live early norms."""
    return sharing.forward_tasks(clips, merge=False)


def by_loop(
    population: int, sharing: LearnedWeightSharing, clips: Mapping[str, Tensor]
) -> Features:
    """Return the features of each task by running each assignment from the clips on."""
    assignments = sharing.assignment.sample(population)
    return {
        task: torch.cat(
            [one_path(sharing, clips[task], path) for path in assignments[:, :, number].tolist()]
        )
        for number, task in enumerate(TASKS)
    }


def one_path(sharing: LearnedWeightSharing, clips: Tensor, path: list[int]) -> Tensor:
    """Return the features of clips that go through one copy of each layer."""
    x = sharing.early(clips)
    for copies, number in zip(sharing.layers, path):
        x = cast('nn.ModuleList', copies)[number](x)
    return ResNet3d.pool(x)


if __name__ == '__main__':
    main()
