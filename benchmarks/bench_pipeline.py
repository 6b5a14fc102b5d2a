"""
How fast clips of videos reach the training, and what a cache saves.

1. ways to get a clip at the training size: scaled by FFmpeg while colours are converted (what the
   pipeline does), in RGB at full size and then by the robot's preprocessor, and by torchcodec
   where it can be imported;
2. the pipeline (2 workers; sampling, scaling, augmentation, batches, transfer to the main process)
   / a loop in 2 processes that does nothing but decode the same frames to RGB at full size: at
   least 0.9. Its random windows are those that the pipeline draws;
3. the pipeline with the cache warm / without a cache, both without augmentation: at least 10; /
   the bare decoder; and a clip from the cache / a decoded one, with nothing else around: at most
   0.05;
4. what augmentation costs per clip.

The videos are rendered scenes, encoded as UCF101 is: 320x240 at 25 frames a second, MPEG-4 in AVI.
What is compared runs in turns, so that a busy machine slows both; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
import json
import multiprocessing
from multiprocessing.synchronize import Barrier
import os
from pathlib import Path
from statistics import median
import tempfile
from time import perf_counter
from typing import Any, NamedTuple

import av
import cv2
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.decoding import Frame, read_frames, upright_rgb
from mtl_training.data.multitask import collate_tasks, MultiTaskDataset, MultiTaskSampler
from mtl_training.data.synthetic import render, Scene
from mtl_training.data.video_sets.folder import folder
from mtl_training.data.videos.augmentation import ClipAugmentation
from mtl_training.data.videos.clips import VideoClips
from mtl_training.data.videos.scaling import FrameScaler
import numpy as np
from rich.table import Table
import torch
from torch.utils.data import DataLoader

from benchmarks.timing import console_for_tables, side_by_side

try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError):
    # It needs FFmpeg's libraries, which it does not bring along.
    VideoDecoder = None

SIZE, RATE = (240, 320), 25
NUM_FRAMES, CLIP_SECONDS, CROP = 16, 2.0, (112, 112)
WORKERS, BATCH = 2, 8  # the latter as the trainer's own
WARM = 8
GOALS = {
    'pipeline / bare decoder': ('>=', 0.9),
    'cache / pipeline without': ('>=', 10.0),
    'cached clip / decoded clip': ('<=', 0.05),
}
Read = tuple[str, list[float]]  # a video, and the times of the frames of a clip


def main() -> None:
    """Measure, print tables and write JSON where asked."""
    args = parse_args()
    # As in the workers of a training: one process per core.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        os.environ['XDG_CACHE_HOME'] = name
        root = Path(name) / 'videos'
        for number in range(args.videos):
            write_scene(
                root / 'train' / f'class{number % 4}' / f'v_{number:03d}.avi', number, args
            )
        result: dict[str, Any] = {
            'benchmark': 'pipeline',
            'settings': {k: v for k, v in vars(args).items() if k != 'json'},
            'av': av.__version__,
            'torch': torch.__version__,
            'cores': os.cpu_count(),
            'load_average': os.getloadavg()[0],
        }
        cache = str(Path(name) / 'clips')
        result['ways'] = ways(root, args)
        result['rates'] = rates(root, cache, args)
        result['clip'] = single_clips(root, cache, args)
    show('Ways to a clip at the training size, ms', result['ways'])
    show('Clips per second, median over rounds', result['rates'])
    show('One clip in one process, ms', result['clip'])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--videos', type=int, default=24)
    parser.add_argument('--seconds', type=float, default=7.0, help='length of a video')
    parser.add_argument('--clips', type=int, default=160, help='of each rate and round')
    parser.add_argument('--repetitions', type=int, default=7)
    parser.add_argument('--quick', action='store_true', help='6 videos, 40 clips, 3 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.videos, args.clips, args.repetitions = 6, 40, 3
    return args


def write_scene(path: Path, seed: int, args: argparse.Namespace) -> None:
    """Write a scene as a video of UCF101 is: about 370 kbit/s, with noise as a camera's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = Scene.sample(seed, task='action')
    begin = scene.window(0.5, 2.0)
    pictures = render(scene, np.linspace(begin, begin + 2.0, 2 * RATE), SIZE).frames
    rng = np.random.default_rng(seed)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=RATE)
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.bit_rate, stream.gop_size = 'yuv420p', 370_000, 12
        for i in range(round(args.seconds * RATE)):
            turn = i % (2 * len(pictures))
            picture = pictures[min(turn, 2 * len(pictures) - 1 - turn)]
            noise = rng.integers(-4, 5, picture.shape, np.int16)
            noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format='rgb24')))
        container.mux(stream.encode())


def clips_of(root: Path, **settings: Any) -> VideoClips:
    """Return the videos as a training split, as a config with a crop would have it."""
    index = folder('train', root=str(root))
    clip = {'num_frames': NUM_FRAMES, 'clip_seconds': CLIP_SECONDS, 'size': CROP, **settings}
    return VideoClips('action', 'train', index, **clip)


def ways(root: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the same clips, decoded and brought to the training size in several ways."""
    reads = drawn(clips_of(root), 2 * args.videos)
    scaler = FrameScaler(CROP, 'crop')
    preprocessor = FramePreprocessor(PreprocessingConfig(resize=CROP, fit='crop'))

    def by_preprocessor(frame: Any) -> torch.Tensor:
        return preprocessor.resize(torch.from_numpy(upright_rgb(frame))[None])

    def by_torchcodec() -> None:
        for path, times in reads:
            decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order='NHWC')
            frames = decoder.get_frames_at([round(t * RATE) for t in times]).data
            preprocessor.resize(frames)

    def all_of(convert: Callable[[Any], Any]) -> Callable[[], None]:
        def run() -> None:
            for path, times in reads:
                read_frames(Path(path), times, convert)

        return run

    runs: dict[str, Callable[[], object]] = {
        'scaled while converted': all_of(scaler),
        'RGB, then resized': all_of(by_preprocessor),
        'decoded alone': all_of(lambda frame: None),
    }
    if VideoDecoder is not None:
        runs['torchcodec, then resized'] = by_torchcodec
    times = side_by_side(runs, 'cpu', args.repetitions)
    first = times['scaled while converted']
    rows: list[dict[str, Any]] = [
        {
            'way': name,
            'ms': 1e3 * median(own) / len(reads),
            'ratio': median(a / b for a, b in zip(own, first)),
        }
        for name, own in times.items()
    ]
    if VideoDecoder is None:
        rows.append({'way': 'torchcodec: it or its FFmpeg libraries are not installed'})
    return rows


def rates(root: Path, cache: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the pipeline with the bare decoder, and with itself when the cache is warm."""
    varied, plain = clips_of(root, augment=True), clips_of(root)
    cached = clips_of(root, cache_dir=cache)
    for index in range(len(cached)):
        cached[index]
    reads = drawn(varied, args.clips)
    names = ('bare decoder', 'pipeline', 'pipeline, as it is', 'pipeline, cached')
    found: dict[str, list[Cost]] = {name: [] for name in names}
    for repetition in range(args.repetitions):
        runs: list[tuple[str, Callable[[], Cost]]] = [
            ('bare decoder', lambda: bare(reads)),
            ('pipeline', lambda: pipeline(varied, args.clips)),
            ('pipeline, as it is', lambda: pipeline(plain, args.clips)),
            # As long as the others take.
            ('pipeline, cached', lambda: pipeline(cached, WARM * args.clips)),
        ]
        for name, run in runs[:: 1 if repetition % 2 else -1]:
            found[name].append(run())
    alone, full, decoded, warm = found.values()
    return [
        {'what': 'bare decoder', **Cost.medians(alone)},
        {
            'what': 'pipeline / bare decoder',
            **Cost.medians(full),
            **Cost.ratios(full, alone),
        },
        {'what': 'cache / bare decoder', **Cost.medians(warm), **Cost.ratios(warm, alone)},
        {'what': 'cache / pipeline without', **Cost.medians(warm), **Cost.ratios(warm, decoded)},
    ]


class Cost(NamedTuple):
    """What clips cost by the clock, and in time of all cores, which others on them change less."""

    rate: float  # clips per second
    cpu_ms: float  # per clip

    @staticmethod
    def medians(costs: Sequence[Cost]) -> dict[str, float]:
        """Return the medians over rounds."""
        return {name: median(getattr(cost, name) for cost in costs) for name in Cost._fields}

    @staticmethod
    def ratios(costs: Sequence[Cost], others: Sequence[Cost]) -> dict[str, float]:
        """Return how much faster than others they are."""
        pairs = list(zip(costs, others))
        return {
            'ratio': median(a.rate / b.rate for a, b in pairs),
            'ratio_by_cpu': median(b.cpu_ms / a.cpu_ms for a, b in pairs),
        }


def cpu_sec() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def single_clips(root: Path, cache: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time one clip after the other, by its parts."""
    plain, cached = clips_of(root), clips_of(root, cache_dir=cache)
    every = range(len(plain))
    frames = np.ascontiguousarray(cached[0].frames)
    augmentation = ClipAugmentation()
    runs: dict[str, Callable[[], object]] = {
        'cached': lambda: [cached[index] for index in every],
        'decoded': lambda: [plain[index] for index in every],
        'augmented': lambda: [augmentation(frames, crop=None, may_mirror=True) for _ in every],
    }
    times = side_by_side(runs, 'cpu', args.repetitions)
    milliseconds = {name: 1e3 * median(own) / len(plain) for name, own in times.items()}
    ratios = {
        name: median(a / b for a, b in zip(own, times['decoded'])) for name, own in times.items()
    }
    return [
        {'what': 'decoded clip', 'ms': milliseconds['decoded']},
        {
            'what': 'cached clip / decoded clip',
            'ms': milliseconds['cached'],
            'ratio': ratios['cached'],
        },
        {
            'what': 'augmentation / decoded clip',
            'ms': milliseconds['augmented'],
            'ratio': ratios['augmented'],
        },
    ]


def batches_of(clips: VideoClips, workers: int, count: int) -> Any:
    """Return the first batches of a training."""
    sampler = MultiTaskSampler({'action': len(clips)}, BATCH, tasks_at=lambda _: ['action'])
    loader: DataLoader[Any] = DataLoader(
        MultiTaskDataset({'action': clips}),
        batch_sampler=list(islice(sampler, count)),
        collate_fn=collate_tasks,
        num_workers=workers,
    )
    return iter(loader)


def pipeline(clips: VideoClips, count: int) -> Cost:
    """Return what clips cost that reach this process; the first ones are not timed."""
    ahead, used = 3 * WORKERS, cpu_sec()
    batches = batches_of(clips, WORKERS, ahead + count // BATCH)
    for _ in range(ahead):  # what is fetched ahead, and the start
        next(batches)
    start = perf_counter()
    num_batches = sum(1 for _ in batches)
    seconds = perf_counter() - start
    del batches  # its workers end, and their time is counted
    milliseconds = 1e3 * (cpu_sec() - used) / ((ahead + num_batches) * BATCH)
    return Cost(num_batches * BATCH / seconds, milliseconds)


def drawn(clips: VideoClips, count: int) -> list[Read]:
    """Return what the pipeline reads for its first clips."""
    reads: list[Read] = []

    def record(entry: Any, facts: Any, times_sec: list[float]) -> Frame:
        reads.append((str(entry.path), times_sec))
        return np.zeros((NUM_FRAMES, *CROP, 3), np.uint8)

    reader, clips._read = clips._read, record  # type: ignore[assignment]
    list(batches_of(clips, 0, -(-count // BATCH)))
    clips._read = reader
    return reads[:count]


def bare(reads: Sequence[Read]) -> Cost:
    """Return what clips cost in processes that decode and do nothing else."""
    context, used = multiprocessing.get_context('fork'), cpu_sec()
    barrier = context.Barrier(WORKERS + 1)
    processes = [
        context.Process(target=decode_all, args=(reads[i::WORKERS], barrier))
        for i in range(WORKERS)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start = perf_counter()
    barrier.wait()
    seconds = perf_counter() - start
    for process in processes:
        process.join()
    milliseconds = 1e3 * (cpu_sec() - used) / (len(reads) + WORKERS)
    return Cost(len(reads) / seconds, milliseconds)


def decode_all(reads: Sequence[Read], barrier: Barrier) -> None:
    """Decode the frames of clips to RGB at their full size."""
    bare_clip(*reads[0])
    barrier.wait()
    for path, times in reads:
        bare_clip(path, times)
    barrier.wait()


def bare_clip(path: str, times: Sequence[float]) -> None:
    """Decode one clip as a loop over a decoder would, with nothing around it."""
    wanted = {round(time_sec * RATE) for time_sec in times}
    last = max(wanted)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frame.to_ndarray(format='rgb24')
            if index == last:
                return


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows of one part."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, 'goal', title=title)
    for row in rows:
        sign, limit = GOALS.get(str(row.get('what')), ('', 0.0))
        cells = [f'{v:.3g}' if isinstance(v, float) else str(v) for v in map(row.get, columns)]
        is_met = row.get('ratio', 0.0) >= limit if sign == '>=' else row.get('ratio', 0.0) <= limit
        verdict = f'{sign} {limit:g}: {"met" if is_met else "missed"}' if sign else ''
        table.add_row(*(cell.replace('None', '') for cell in cells), verdict)
    console_for_tables().print(table)


if __name__ == '__main__':
    main()
