"""
Cost of a multi-task forward against the single-task networks that it replaces.

Both sides run in turns within one process, so that a busy machine slows both. The goal for hard
sharing of two tasks is a ratio of at most 0.52, where 0.50 is the least possible.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from rich.console import Console
from rich.table import Table
import torch

LIMIT = 0.52
TASKS = ('action', 'gesture')


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    table = Table('forward', 'median ms', 'ratio to the sum', title='Two tasks on one clip')
    total = sum(result['single_task_ms'].values())
    for task, milliseconds in result['single_task_ms'].items():
        table.add_row(f'{task} alone', f'{milliseconds:.1f}', f'{milliseconds / total:.3f}')
    table.add_row('sum of both', f'{total:.1f}', '1.000')
    table.add_row('hard sharing', f'{result["hard_ms"]:.1f}', f'{result["ratio"]:.3f}')
    console = Console()
    console.print(table)
    verdict = 'met' if result['ratio'] <= LIMIT else 'missed'
    console.print(f'ratio {result["ratio"]:.3f}, goal <= {LIMIT}: {verdict}')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--depth', type=int, default=18, choices=(18, 34))
    parser.add_argument('--width', type=int, default=64, help='64 is r3d_18')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--size', type=int, default=112, help='height and width in pixels')
    parser.add_argument('--repetitions', type=int, default=9)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--quick', action='store_true', help='a small network, 5 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.width, args.repetitions = 20, 5
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the median times of all forwards and the median of the ratios of each round."""
    clip = torch.randn(1, 3, args.frames, args.size, args.size, device=args.device)
    forwards = {task: build(args, [task], clip) for task in TASKS}
    forwards['hard'] = build(args, list(TASKS), clip)
    times: dict[str, list[float]] = {name: [] for name in forwards}
    with torch.inference_mode():
        for repetition in range(args.repetitions + 1):
            # Turned round each time, so that no side always follows the same one.
            for name in list(forwards)[:: 1 if repetition % 2 else -1]:
                elapsed = timed(forwards[name], args.device)
                if repetition:  # the first round warms up
                    times[name].append(elapsed)
    sums = [sum(pair) for pair in zip(*(times[task] for task in TASKS))]
    return {
        'benchmark': 'sharing',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'single_task_ms': {task: 1e3 * median(times[task]) for task in TASKS},
        'hard_ms': 1e3 * median(times['hard']),
        'ratio': median(hard / total for hard, total in zip(times['hard'], sums)),
        'limit': LIMIT,
    }


def build(args: argparse.Namespace, tasks: list[str], clip: torch.Tensor) -> Callable[[], Any]:
    """Return the forward of a deployed network with these tasks on one trunk."""
    labels = tuple(f'label{i}' for i in range(10))
    config = NetworkConfig(
        trunks={'clip': TrunkConfig(depth=args.depth, width=args.width)},
        tasks={task: TaskConfig(labels=labels) for task in tasks},
    )
    network = MultiTaskNetwork(config).to(args.device).deploy()
    return lambda: network({'clip': clip})


def timed(forward: Callable[[], Any], device: str) -> float:
    """Return the seconds that a forward takes."""
    start = perf_counter()
    forward()
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
    return perf_counter() - start


if __name__ == '__main__':
    main()
