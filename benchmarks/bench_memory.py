"""
Cost of what looks further back than a clip, beside the clip itself.

One engine, as on the robot: it recognises a clip, remembers its feature, cuts the windows of the
tasks that look back (anticipation, state change, point of no return) and judges them. ``ratio`` is
the time of all that follows the clip over that of the clip, within one call; ``ratio_of_calls``
compares calls with and without the memory. The goal is a ratio of 0.05 at most.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
import tempfile
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.temporal_graph.config import GraphConfig
from mtl_perception.runtime.clip_buffer import Clip
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.memory_branch import MemoryBranch
from mtl_perception.runtime.outputs import Outputs
import numpy as np
from rich.table import Table
import torch

from benchmarks.timing import console_for_tables, side_by_side

LIMIT = 0.05
SECOND = 1_000_000_000
RATE_HZ = 10
FILL_SEC = 10
# The sizes of Ego4D: verbs and nouns.
GROUPS = {'verb': 115, 'noun': 478}


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = {
        'benchmark': 'memory',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'clips': {str(frames): measure(args, frames) for frames in args.frames},
        'limit': LIMIT,
    }
    report(result)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--width', type=int, default=64, help='of the clip trunk; 64 is r3d_18')
    parser.add_argument('--graph-width', type=int, default=1024, help='of the temporal graph')
    parser.add_argument('--frames', type=int, nargs='+', default=[16, 32], help='of a clip')
    parser.add_argument('--size', type=int, default=112, help='height and width in pixels')
    parser.add_argument('--repetitions', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--precision', default='float32')
    parser.add_argument('--quick', action='store_true', help='clips of 16 frames, 5 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.frames, args.repetitions = [16], 5
    return args


def measure(args: argparse.Namespace, num_frames: int) -> dict[str, float]:
    """Return the median times of a clip with and without the memory, and of the memory alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_checkpoint(Path(folder) / 'bench.safetensors', args, num_frames)
        engine = Engine(path, device=args.device, precision=args.precision)
    robot = Robot(engine)
    for _ in range(FILL_SEC * RATE_HZ):
        robot.remember_noise()
    runs = {'alone': robot.clip_alone, 'with memory': robot.clip_and_memory}
    seconds = side_by_side(runs, args.device, args.repetitions)
    assert {task for task, _ in robot.outputs.segments} == {'forecast', 'change', 'moment'}
    laps = robot.memory_sec[-args.repetitions :]
    clips = robot.clip_sec[-args.repetitions :]
    differences = [w - a for w, a in zip(seconds['with memory'], seconds['alone'])]
    return {
        'clip_ms': 1e3 * median(seconds['alone']),
        'both_ms': 1e3 * median(seconds['with memory']),
        'memory_ms': 1e3 * median(laps),
        'ratio': median(memory / clip for memory, clip in zip(laps, clips)),
        'ratio_of_calls': median(d / a for d, a in zip(differences, seconds['alone'])),
        'rest_ms': 1e3 * (median(seconds['with memory']) - median(laps) - median(clips)),
    }


class Robot:
    """An engine whose memory is fed at the rate of a camera."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._branch = engine, MemoryBranch(engine)
        trunk = engine.config.trunks['clip']
        shape = (1, 3, trunk.num_frames, *trunk.preprocessing.size)
        self._clip = torch.randn(shape).to(engine.device, engine.dtype)
        self._stamp_ns = 1_000_000 * SECOND
        (graph,) = engine.memory_trunks.values()
        self._dim = graph.feature_dim
        self.outputs = Outputs()
        self.memory_sec: list[float] = []
        self.clip_sec: list[float] = []

    def clip_alone(self) -> None:
        """Recognise a clip."""
        self._engine.infer({'clip': self._clip})

    def clip_and_memory(self) -> None:
        """Recognise a clip, remember it and judge the windows that end with it."""
        self.outputs = self._engine.infer({'clip': self._clip}, self._remember)
        self.memory_sec.append(self.outputs.branch_sec['memory'])
        self.clip_sec.append(self.outputs.branch_sec['clip'])

    def remember_noise(self) -> None:
        """Remember a feature without a clip: so the memory is filled."""
        features = torch.rand(1, self._dim).to(self._engine.device, self._engine.dtype)
        self._remember({'action': features})

    def _remember(self, features: Any) -> dict[str, torch.Tensor]:
        self._stamp_ns += SECOND // RATE_HZ
        stamps = np.array([self._stamp_ns - 2 * SECOND, self._stamp_ns])
        clip = Clip(self._clip, stamps, ('camera', (1, 1)), 0, 0, 0.0, 16)
        return self._branch.remember(features, {'clip': clip})


def write_checkpoint(path: Path, args: argparse.Namespace, num_frames: int) -> Path:
    """Write a network with random weights: an action, and a task of each kind that looks back."""
    size = (args.size, args.size)
    clip = TrunkConfig(
        width=args.width,
        num_frames=num_frames,
        preprocessing=PreprocessingConfig(resize=size),
    )
    graph = GraphConfig(feature_dim=8 * args.width, width=args.graph_width, source='action')
    groups = {group: tuple(f'{group}{i}' for i in range(count)) for group, count in GROUPS.items()}
    tasks = {
        'action': TaskConfig(labels=tuple(f'label{i}' for i in range(10))),
        'forecast': TaskConfig(kind='anticipation', trunk='memory', groups=groups),
        'change': TaskConfig(kind='state_change', trunk='memory'),
        'moment': TaskConfig(kind='point_of_no_return', trunk='memory'),
    }
    trunks = {'clip': clip, 'memory': TrunkConfig(backbone='temporal_graph', graph=graph)}
    network = MultiTaskNetwork(NetworkConfig(trunks=trunks, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    return path


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    title = 'What is told from remembered features, over the clip trunk'
    table = Table('clip', 'clip ms', 'with memory ms', 'memory ms', 'ratio', 'goal', title=title)
    for frames, found in result['clips'].items():
        verdict = 'met' if found['ratio'] <= LIMIT else 'missed'
        table.add_row(
            f'{frames} frames',
            f'{found["clip_ms"]:.1f}',
            f'{found["both_ms"]:.1f}',
            f'{found["memory_ms"]:.1f}',
            f'{found["ratio"]:.3f}',
            f'<= {LIMIT}: {verdict}',
        )
    console_for_tables().print(table)


if __name__ == '__main__':
    main()
