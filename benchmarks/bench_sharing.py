"""
Cost of every sharing method against the single-task networks that it replaces.

Two figures each: the robot's forward pass (deployed, one clip for all tasks) and a training step
(forward, backward, update, each task on clips of its own), over the sum of those of two
single-task networks. Each runs beside them within one process, so that a busy machine slows both.

Goals are those of the forward pass: 0.52 for hard sharing, where 0.50 is the least possible; 1.05
for cross-stitch with whole trunks; for learned weight sharing, measured with tasks that share only
the stages before its copies, 1.03 less half the share of the MACs that lie in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
from statistics import median
from typing import Any, cast

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.sharing import SHARING
from mtl_perception.network.sharing.learned_weight_sharing import LearnedWeightSharing
from mtl_training.costs import count_macs
from rich.console import Console
from rich.table import Table
import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

from benchmarks.timing import timed

TASKS = ('action', 'gesture')
NUM_CLASSES = 10
SINGLES = 'sum of single tasks'
LEARNED = 'learned_weight_sharing'
Run = Callable[[], object]


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    title = 'Two tasks, over the sum of two single-task networks'
    table = Table('method', 'forward ms', 'ratio', 'goal', 'step ms', 'ratio', title=title)
    for name, row in result['methods'].items():
        limit = row['limit']
        verdict = '' if limit is None else 'met' if row['forward_ratio'] <= limit else 'missed'
        table.add_row(
            name,
            f'{row["forward_ms"]:.1f}',
            f'{row["forward_ratio"]:.3f}',
            '' if limit is None else f'<= {limit:.3f}: {verdict}',
            f'{row["step_ms"]:.1f}',
            f'{row["step_ratio"]:.3f}',
        )
    Console().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--methods', nargs='+', default=sorted(SHARING), metavar='NAME')
    parser.add_argument('--depth', type=int, default=18, choices=(18, 34))
    parser.add_argument('--width', type=int, default=32, help='64 is r3d_18')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--size', type=int, default=112, help='height and width in pixels')
    parser.add_argument('--batch-size', type=int, default=2, help='clips of each task in a step')
    parser.add_argument('--repetitions', type=int, default=7)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--quick', action='store_true', help='small clips, 3 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.width, args.frames, args.size, args.repetitions = 16, 8, 64, 3
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the median times of all methods and the medians of their ratios of each round."""
    clip = torch.randn(1, 3, args.frames, args.size, args.size, device=args.device)
    one, other = (Method(args, 'hard', (task,), clip) for task in TASKS)
    both: dict[str, tuple[Run, Run]] = {
        SINGLES: (in_turn(one.forward, other.forward), in_turn(one.step, other.step))
    }
    limits: dict[str, float | None] = {SINGLES: None}
    for name in args.methods:
        method = Method(args, name, TASKS, clip)
        both[name] = (method.forward, method.step)
        limits[name] = method.limit()
    forward = ratios_to_singles({name: run for name, (run, _) in both.items()}, args)
    step = ratios_to_singles({name: run for name, (_, run) in both.items()}, args)
    return {
        'benchmark': 'sharing',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'methods': {
            name: {
                'forward_ms': forward[name][0],
                'forward_ratio': forward[name][1],
                'step_ms': step[name][0],
                'step_ratio': step[name][1],
                'limit': limits[name],
            }
            for name in both
        },
    }


def in_turn(first: Run, second: Run) -> Run:
    """Return a run of one after the other."""
    return lambda: (first(), second())


def ratios_to_singles(
    runs: dict[str, Run], args: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of each run, and the median of its ratios to the singles."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(args.repetitions + 1):
        for name, run in runs.items():
            # Each beside the singles, turned round each time.
            pair = [run, runs[SINGLES]][:: 1 if repetition % 2 else -1]
            elapsed = {one: timed(one, args.device)[1] for one in pair}
            if repetition:  # the first round warms up
                times[name].append(1e3 * elapsed[run])
                ratios[name].append(elapsed[run] / elapsed[runs[SINGLES]])
    return {name: (median(times[name]), median(ratios[name])) for name in runs}


class Method:
    """A network that shares in one way, as it is trained and as it is deployed."""

    def __init__(
        self, args: argparse.Namespace, name: str, tasks: tuple[str, ...], clip: Tensor
    ) -> None:
        torch.manual_seed(0)
        labels = tuple(f'label{i}' for i in range(NUM_CLASSES))
        trunk = TrunkConfig(depth=args.depth, width=args.width, sharing=name, norm='batch')
        config = NetworkConfig(
            trunks={'clip': trunk}, tasks={task: TaskConfig(labels=labels) for task in tasks}
        )
        self._name, self._clip = name, clip
        self._network = MultiTaskNetwork(config).to(args.device)
        if name == LEARNED:
            separate_tasks(cast(LearnedWeightSharing, self._network.sharing('clip')))
        self._deployed = self._network.deploy()
        shape = (args.batch_size, *clip.shape[1:])
        self._clips = {task: torch.randn(shape, device=args.device) for task in tasks}
        self._labels = torch.randint(NUM_CLASSES, (args.batch_size,), device=args.device)
        parameters = [p for p in self._network.parameters() if p.requires_grad]
        self._optimiser = torch.optim.SGD(parameters, lr=1e-3)

    def forward(self) -> None:
        """Do what the robot does."""
        with torch.inference_mode():
            self._deployed({'clip': self._clip})

    def step(self) -> None:
        """Train on a batch of each task; what a method searches is part of its step."""
        sharing = self._network.sharing('clip')
        if sharing.searches:
            self._network.search(self._clips, self._sample_losses)
        self._network.train()
        self._optimiser.zero_grad()
        logits = self._network.forward_tasks(self._clips)
        losses = self._sample_losses(logits)
        torch.stack([values.mean() for values in losses.values()]).sum().backward()
        self._optimiser.step()

    def limit(self) -> float | None:
        """Return the goal for the ratio of the forward passes."""
        if self._name == LEARNED:
            sharing = cast(LearnedWeightSharing, self._network.sharing('clip'))
            sharing.eval()
            early: nn.Module = sharing.early
            whole = count_macs(lambda: sharing.forward_task(self._clip, TASKS[0]))
            return 1.03 - 0.5 * count_macs(lambda: early(self._clip)) / whole
        return {'hard': 0.52, 'cross_stitch': 1.05}.get(self._name)

    def _sample_losses(self, logits: Any) -> dict[str, Tensor]:
        return {
            task: cross_entropy(
                values, self._labels.repeat(len(values) // len(self._labels)), reduction='none'
            )
            .view(-1, len(self._labels))
            .mean(1)
            for task, values in logits.items()
        }


def separate_tasks(sharing: LearnedWeightSharing) -> None:
    """Let each task use its own copy of every block."""
    probabilities = sharing.assignment.probabilities
    own = torch.eye(probabilities.shape[1], probabilities.shape[2]) * 0.98 + 0.01
    probabilities.copy_((own / own.sum(-1, keepdim=True)).expand_as(probabilities))


if __name__ == '__main__':
    main()
