"""
Cost of the frame branch: what its tasks share, and what it takes to make people of maps.

1. actions and gestures in one forward / the sum of two single-task networks;
2. boxes and keypoints in one network / the sum of two networks with a backbone each, measured and
   by MACs, for the standard network (ResNet-50, 480x480) and for that of the demo. The ratio of
   MACs is the least possible;
3. everything, one call after the other: the clip tasks, the frame tasks, decoding / the forwards
   of both branches, which end with what a head computes at every place: logits of clips, logits
   and deltas of all anchors, heatmaps. What makes people of them is decoding: the best boxes,
   their non-maximum suppression, peaks, the Pose Residual Network, whose joint is whose, and
   activities. The ratio to both trunks by themselves is printed, too; no goal of 1.05 can mean
   that, as pyramids, towers and heatmaps are most of what people cost;
4. the Pose Residual Network on several people at once / one after the other, and assigning peaks
   at once / pair by pair.

The weights are random; decoding gets outputs that show a known number of people. What is compared
runs in turns in one process, so that a busy machine slows both; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import json
import os
from pathlib import Path
from statistics import median
from typing import Any, cast

from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.pose.association import assign, PoseResidualNetwork
from mtl_training.config import load_config
from mtl_training.costs import count_macs
from mtl_training.data.synthetic import ACTIONS, ACTIVITIES, GESTURES
from rich.table import Table
import torch
from torch import Tensor

from benchmarks.bench_sharing import in_turn, Method, TASKS
from benchmarks.crowds import outputs_of, Size
from benchmarks.timing import console_for_tables, side_by_side

CONFIGS = Path(__file__).parents[1] / 'config' / 'training'
# The network of frames, and that of clips which runs beside it.
NETWORKS = {'pose_r50': 'paper', 'demo_people': 'demo'}
LABELS = {'action': ACTIONS, 'gesture': GESTURES, 'activity': ACTIVITIES}
LIMITS = {'clips': 0.52, 'frames': 0.84, 'all': 1.05}
PEOPLE = (1, 5, 20)
PEAKS = 30
QUICK_SIDE = 224


def main() -> None:
    """Measure, print tables and write JSON where asked."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    parts: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
        'clips': clips_together,
        'frames': frames_together,
        'all': everything_together,
        'people': people_together,
    }
    result: dict[str, Any] = {
        'benchmark': 'frames',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'load_average': os.getloadavg()[0],
    }
    for part in args.parts:
        result[part] = parts[part](args)
        show(part, result[part])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parts = ('clips', 'frames', 'all', 'people')
    parser.add_argument('--parts', nargs='+', default=list(parts), choices=parts)
    parser.add_argument(
        '--networks', nargs='+', default=list(NETWORKS), choices=NETWORKS, help='of frames'
    )
    parser.add_argument('--repetitions', type=int, default=7)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--quick', action='store_true', help=f'sides of {QUICK_SIDE} at most, 3 repetitions'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.repetitions = 3
    return args


def show(part: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows of one part."""
    titles = {
        'clips': 'Actions and gestures together / sum of single tasks',
        'frames': 'Boxes and keypoints together / sum of single tasks',
        'all': 'Everything / forwards of both branches, and / trunks alone',
        'people': 'All people at once / one after the other',
    }
    columns = [name for name in rows[0] if name != 'limit']
    table = Table(*[name.replace('_', ' ') for name in columns], 'goal', title=titles[part])
    for row in rows:
        limit, ratio = row.get('limit'), row.get('ratio', row.get('ratio_to_forward'))
        verdict = '' if limit is None else 'met' if ratio <= limit else 'missed'
        cells = [f'{row[n]:.3f}' if isinstance(row[n], float) else str(row[n]) for n in columns]
        table.add_row(*cells, '' if limit is None else f'<= {limit:.2f}: {verdict}')
    console_for_tables().print(table)


def clips_together(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare one network for actions and gestures with one for each of them."""
    side = 64 if args.quick else 112
    shape = argparse.Namespace(depth=18, width=32, batch_size=1, device=args.device)
    clip = torch.randn(1, 3, 16, side, side, device=args.device)
    one, other = (Method(shape, 'hard', (task,), clip) for task in TASKS)
    both = Method(shape, 'hard', TASKS, clip)
    runs = {'together': both.forward, 'single': in_turn(one.forward, other.forward)}
    return [{'network': f'r3d_18, width 32, 16x{side}x{side}', **compared(runs, args, 'clips')}]


def compared(
    runs: dict[str, Callable[[], object]], args: argparse.Namespace, goal: str = ''
) -> dict[str, Any]:
    """Return the milliseconds of two runs and the median of the ratios, with the goal for it."""
    times = side_by_side(runs, args.device, args.repetitions)
    (name, first), (other, second) = times.items()
    row: dict[str, Any] = {
        f'{name}_ms': 1e3 * median(first),
        f'{other}_ms': 1e3 * median(second),
        'ratio': median(a / b for a, b in zip(first, second)),
    }
    return {**row, 'limit': LIMITS[goal]} if goal else row


def frames_together(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare one network for boxes and keypoints with one for each of them."""
    rows = []
    for name in args.networks:
        config = labelled(name)
        tasks = [cast('str', config.task_of_kind(kind)) for kind in ('detection', 'keypoints')]
        subsets = (tasks, tasks[:1], tasks[1:])
        networks = [deployed(with_tasks(config, chosen), args.device) for chosen in subsets]
        height, width = input_size(config, args)
        frames = torch.randn(1, 3, height, width, device=args.device)
        forwards = [forward_of(network, {'frame': frames}) for network in networks]
        runs = {'together': forwards[0], 'separate': in_turn(*forwards[1:])}
        row = compared(runs, args, 'frames')
        macs = [frame_macs(with_tasks(config, chosen)) for chosen in subsets]
        row |= {'gmac': macs[0] / 1e9, 'ratio_of_macs': macs[0] / sum(macs[1:])}
        rows.append({'network': name, 'input': f'{height}x{width}', **row})
    return rows


def everything_together(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare everything with the forwards of both branches, and with those of both trunks."""
    rows = []
    for name in args.networks:
        frames, clips = labelled(name), labelled(NETWORKS[name])
        config = NetworkConfig(
            trunks={**clips.trunks, **frames.trunks}, tasks={**clips.tasks, **frames.tasks}
        )
        network, size = deployed(config, args.device), input_size(config, args)
        rows += all_tasks(f'{NETWORKS[name]} + {name}', network, size, args)
    return rows


def all_tasks(
    name: str, network: MultiTaskNetwork, size: Size, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each number of people."""
    trunk = network.config.trunks['clip']
    clip_size = (min(QUICK_SIDE // 2, side) if args.quick else side for side in clip_input(trunk))
    clip = {'clip': torch.randn(1, 3, trunk.num_frames, *clip_size, device=args.device)}
    frame = {'frame': torch.randn(1, 3, *size, device=args.device)}
    forward = forward_of(network, {**clip, **frame})

    @torch.inference_mode()
    def trunks() -> None:
        network.features(clip)
        network.sharing('frame')(frame['frame'])

    with torch.inference_mode():
        plain = network(frame)
    shown = {n: outputs_of(network, plain, n, size, args.device) for n in PEOPLE}

    @torch.inference_mode()
    def decode(count: int) -> int:
        return decode_people(network, shown[count], size)

    @torch.inference_mode()
    def everything(count: int) -> None:
        network.scores(clip)
        network(frame)
        decode(count)

    if missed := [count for count in PEOPLE if decode(count) != count]:
        raise RuntimeError(f'decoding must find all people that are shown, not so {missed}.')
    runs: dict[str, Callable[[], object]] = {'forward': forward, 'trunks': trunks}
    for count in PEOPLE:
        runs[f'all {count}'] = partial(everything, count)
        runs[f'decode {count}'] = partial(decode, count)
    times = side_by_side(runs, args.device, args.repetitions)
    alone = times['forward']
    return [
        {
            'network': name,
            'people': count,
            'trunks_ms': 1e3 * median(times['trunks']),
            'forward_ms': 1e3 * median(alone),
            'decoding_ms': 1e3 * median(times[f'decode {count}']),
            'decoding_share': median(a / b for a, b in zip(times[f'decode {count}'], alone)),
            'ratio_to_forward': median(a / b for a, b in zip(times[f'all {count}'], alone)),
            'ratio_to_trunks': median(
                a / b for a, b in zip(times[f'all {count}'], times['trunks'])
            ),
            'limit': LIMITS['all'],
        }
        for count in PEOPLE
    ]


def decode_people(network: MultiTaskNetwork, outputs: dict[str, Any], size: Size) -> int:
    """Do what follows the forward of a frame, and return how many people are in it."""
    people = network.people_of(outputs, size)
    found = people.is_found[0]
    task = cast('str', network.config.task_of_kind('activity'))
    history = settings_of(task, network.config.tasks[task]).history
    poses = people.keypoints[0, found, None].expand(-1, history, -1, -1)
    network.activities(poses, people.boxes[0, found], torch.tensor(size))
    return int(found.sum())


def people_together(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare work on all people of a frame at once with work on one after the other."""
    rows = []
    for name in args.networks:
        config = labelled(name)
        task = cast('str', config.task_of_kind('association'))
        settings = settings_of(task, config.tasks[task])
        network = PoseResidualNetwork(settings).eval().requires_grad_(False).to(args.device)
        for count in PEOPLE:
            maps = torch.rand(count, 17, settings.height, settings.width, device=args.device)
            runs: dict[str, Callable[[], object]] = {
                'together': partial(network, maps),
                'in_turn': partial(one_by_one, network, maps),
            }
            rows.append({'what': f'PRN of {name}', 'people': count, **compared(runs, args)})
    for count in PEOPLE:
        scores = torch.rand(1, count, 17, PEAKS, device=args.device)
        if not torch.equal(assign(scores), assign_pair_by_pair(scores)):
            raise RuntimeError('assigning at once must give what assigning pair by pair gives.')
        runs = {
            'together': partial(assign, scores),
            'in_turn': partial(assign_pair_by_pair, scores),
        }
        rows.append({'what': 'assignment', 'people': count, **compared(runs, args)})
    return rows


def one_by_one(network: PoseResidualNetwork, maps: Tensor) -> list[Tensor]:
    """Return what the network makes of the maps of each person."""
    return [network(one) for one in maps.split(1)]


def assign_pair_by_pair(scores: Tensor) -> Tensor:
    """Return what :func:`assign` returns, from the best pair to the worst."""
    chosen = torch.full(scores.shape[:3], -1)
    for image, of_image in enumerate(scores.cpu()):
        for joint in range(scores.shape[2]):
            claims = of_image[:, joint]
            taken: set[int] = set()
            for number in claims.flatten().argsort(descending=True, stable=True).tolist():
                person, peak = divmod(number, claims.shape[1])
                if claims[person, peak] <= 0:
                    break
                if chosen[image, person, joint] < 0 and peak not in taken:
                    chosen[image, person, joint] = peak
                    taken.add(peak)
    return chosen.to(scores.device)


def labelled(name: str) -> NetworkConfig:
    """Return the network of a config of this project, with the labels of rendered scenes."""
    config = load_config(CONFIGS / f'{name}.yaml').network
    return config.with_labels({t: labels for t, labels in LABELS.items() if t in config.tasks})


def with_tasks(config: NetworkConfig, tasks: Sequence[str]) -> NetworkConfig:
    """Return a network with some of the tasks."""
    return replace(config, tasks={task: config.tasks[task] for task in tasks})


def deployed(config: NetworkConfig, device: str) -> MultiTaskNetwork:
    """Return a network of random weights as the robot runs it."""
    return MultiTaskNetwork(config).deploy().to(device)


def frame_macs(config: NetworkConfig) -> float:
    """Return the multiply-accumulates of a frame, at the size that the config asks for."""
    size = config.trunks['frame'].preprocessing.size
    with torch.device('meta'):
        network = MultiTaskNetwork(config).deploy()
        frames = torch.zeros(1, 3, *size)
    return count_macs(lambda: network({'frame': frames}))


def forward_of(network: MultiTaskNetwork, inputs: dict[str, Tensor]) -> Callable[[], object]:
    """Return a run of the network."""

    def run() -> object:
        with torch.inference_mode():
            return network(inputs)

    return run


def clip_input(trunk: Any) -> Size:
    """Return the height and width of a trunk's input."""
    return cast('Size', trunk.preprocessing.size)


def input_size(config: NetworkConfig, args: argparse.Namespace) -> Size:
    """Return the height and width of a frame, smaller where it has to be quick."""
    height, width = clip_input(config.trunks['frame'])
    if args.quick and max(height, width) > 256:
        return QUICK_SIDE, QUICK_SIDE
    return height, width


if __name__ == '__main__':
    main()
