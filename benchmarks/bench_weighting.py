"""
Cost of a training step with every weighting against one with average weighting.

A step is the forward and backward passes of two tasks, each with clips of its own, on one shared
trunk, the weighting, and the optimiser's update. Each runs beside its reference within one
process, so that a busy machine slows both. Loss weightings are compared with average on one merged
batch, as they may be themselves. Gradient weightings need separate batches, and are compared with
both: with average on separate batches, which shows what the method itself costs, and with average
on one merged batch, which shows what a run pays that would else merge. The goal, relative to
average, is judged for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
import json
from pathlib import Path
from statistics import median
from typing import Any

from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_training.weighting import (
    build_weighting,
    StepContext,
    TaskLoss,
    Weighting,
    WEIGHTINGS,
)
from rich.console import Console
from rich.table import Table
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.timing import timed

TASKS = ('action', 'gesture')
NUM_CLASSES = 10
LOSS_LIMIT, GRADIENT_LIMIT = 1.02, 1.15
# What passes over another batch, or over the same one again, by design: without a goal.
EXTRA_PASSES = ('auto_lambda', 'famo')
# The rows besides the methods: average, and PCGrad as it is done on one graph of a merged batch.
TITLE = 'Training steps of two tasks, hard sharing, over average weighting'
MERGED, SEPARATE, JOINT_GRAPH = 'merged', 'separate', 'joint pcgrad'
REFERENCES = (SEPARATE, MERGED)


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    table = Table('step', 'ms', 'goal', title=TITLE)
    for reference in REFERENCES:
        table.add_column(f'/ average, {reference}')
    for name, row in result['steps'].items():
        goal = '' if row['limit'] is None else f'<= {row["limit"]}'
        verdicts = [
            verdict(row['ratios'].get(reference), row['limit']) for reference in REFERENCES
        ]
        table.add_row(name, f'{row["ms"]:.1f}', goal, *verdicts)
    console = Console()
    console.print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def verdict(ratio: float | None, limit: float | None) -> str:
    """Return a ratio, and whether it is within the goal if there is one."""
    if ratio is None:
        return ''
    if limit is None:
        return f'{ratio:.3f}'
    return f'{ratio:.3f} {"met" if ratio <= limit else "missed"}'


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--weightings', nargs='+', default=sorted(WEIGHTINGS), metavar='NAME')
    parser.add_argument('--depth', type=int, default=18, choices=(18, 34))
    parser.add_argument('--width', type=int, default=16, help='64 is r3d_18')
    parser.add_argument('--batch-size', type=int, default=4, help='clips of each task')
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--size', type=int, default=56, help='height and width in pixels')
    parser.add_argument('--repetitions', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--quick', action='store_true', help='small clips, 5 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.size, args.repetitions = 32, 5
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the median times of all steps and the medians of their ratios of each round."""
    steps: dict[str, Callable[[], None]] = {
        MERGED: Training(args, 'average', merge=True).step,
        SEPARATE: Training(args, 'average', merge=False).step,
        JOINT_GRAPH: Training(args, 'average', merge=True).joint_graph_step,
    }
    separate = {MERGED: False, SEPARATE: True, JOINT_GRAPH: False}
    for name in args.weightings:
        if name != 'average':
            training = Training(args, name)
            steps[name] = training.step
            separate[name] = training.weighting.separate_graphs
    beside = {name: REFERENCES if own else (MERGED,) for name, own in separate.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    ratios: dict[str, dict[str, list[float]]] = {
        name: {reference: [] for reference in references} for name, references in beside.items()
    }
    for repetition in range(args.repetitions + 1):
        for name, step in steps.items():
            # Each beside its references: a busy machine slows all. Turned round each time.
            group = [(name, step), *((other, steps[other]) for other in beside[name])]
            order = range(len(group))[:: 1 if repetition % 2 else -1]
            elapsed = {place: timed(group[place][1], args.device)[1] for place in order}
            if repetition:  # the first round warms up
                times[name].append(elapsed[0])
                for place, reference in enumerate(beside[name], start=1):
                    ratios[name][reference].append(elapsed[0] / elapsed[place])
    rows = {}
    for name, values in times.items():
        limit = GRADIENT_LIMIT if separate[name] else LOSS_LIMIT
        has_goal = name in WEIGHTINGS and name not in EXTRA_PASSES
        rows[name] = {
            'ms': 1e3 * median(values),
            'ratios': {reference: median(found) for reference, found in ratios[name].items()},
            'limit': limit if has_goal else None,
        }
    return {
        'benchmark': 'weighting',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'steps': rows,
    }


class Training:
    """
    A small network, a weighting and the batches that it is trained on.

    :param merge: One pass for the batches of both tasks; by default where the weighting allows it.
    """

    def __init__(self, args: argparse.Namespace, name: str, *, merge: bool | None = None) -> None:
        torch.manual_seed(0)
        labels = tuple(f'label{i}' for i in range(NUM_CLASSES))
        # Group norm: the same computation, merged or not.
        trunk = TrunkConfig(depth=args.depth, width=args.width, norm='group')
        tasks = {task: TaskConfig(labels=labels) for task in TASKS}
        config = NetworkConfig(trunks={'clip': trunk}, tasks=tasks)
        self.network = MultiTaskNetwork(config).to(args.device).train()
        self.weighting = build(name, args.batch_size).to(args.device)
        self.merge = not self.weighting.separate_graphs if merge is None else merge
        self.batches = [make_batch(args) for _ in range(2)]  # of this step and of the next
        parameters = [*self.network.parameters(), *self.weighting.parameters()]
        self.optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
        self.shared = [
            p for method in self.network.sharing_methods for p in method.shared_parameters()
        ]
        self.context = StepContext(
            Tensor.backward,
            shared_parameters=self.shared,
            parameters=tuple(self.network.parameters()),
            iterations=1000,
            learning_rate=1e-3,
            upcoming_losses=lambda: self.losses(1),
        )

    def losses(self, batch: int = 0) -> dict[str, TaskLoss]:
        """Return the losses of a batch."""
        clips, labels, indices = self.batches[batch]
        logits = self.network.forward_tasks(clips, merge=self.merge)
        return {
            task: TaskLoss(cross_entropy(logits[task], labels, reduction='none'), indices)
            for task in TASKS
        }

    def step(self) -> None:
        """Train on the batch."""
        self.optimiser.zero_grad()
        self.weighting.backward(self.losses(), self.context)
        self.optimiser.step()
        if self.weighting.uses_losses_after:
            with torch.no_grad():
                after = {task: loss.mean() for task, loss in self.losses().items()}
            self.weighting.after_step(after)

    def joint_graph_step(self) -> None:
        """Train by PCGrad as it is done where all losses hang on one graph of a merged batch."""
        self.optimiser.zero_grad()
        losses = self.losses()
        means = [loss.mean() for loss in losses.values()]
        rows = [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(m, self.shared, retain_graph=True)]
            )
            for m in means
        ]
        product = (rows[0] @ rows[1]).clamp_max(0)
        total = torch.stack([(1 - product / (row @ row)) * row for row in rows]).sum(0)
        for mean, head in zip(means, TASKS):
            own = tuple(self.network.heads[head].parameters())
            for parameter, gradient in zip(own, torch.autograd.grad(mean, own, retain_graph=True)):
                parameter.grad = gradient
        for part, parameter in zip(total.split([p.numel() for p in self.shared]), self.shared):
            parameter.grad = part.view_as(parameter)
        self.optimiser.step()


def build(name: str, num_samples: int) -> Weighting:
    """Return a weighting that has been told the sizes of the training sets."""
    settings: Mapping[str, Any] = {'weights': dict.fromkeys(TASKS, 1.0)} if name == 'fixed' else {}
    weighting = build_weighting(name, TASKS, **settings)
    weighting.prepare(dict.fromkeys(TASKS, num_samples))
    return weighting


def make_batch(args: argparse.Namespace) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the clips of both tasks, and labels and indices that serve both."""
    shape = (args.batch_size, 3, args.frames, args.size, args.size)
    clips = {task: torch.randn(shape, device=args.device) for task in TASKS}
    labels = torch.randint(NUM_CLASSES, (args.batch_size,), device=args.device)
    return clips, labels, torch.arange(args.batch_size, device=args.device)


if __name__ == '__main__':
    main()
