"""Measure how many frames per second one core renders, everything included."""

import argparse
import json
from pathlib import Path
import platform
import time

import cv2
from mtl_training.data.synthetic import render, Scene
import numpy as np

SIZES = ((128, 171), (240, 320), (480, 640))
FRAMES_PER_CLIP = 16


def frames_per_second(size: tuple[int, int], num_clips: int, first_seed: int) -> float:
    """Render clips of new scenes, from their seeds to their truth, and return the rate."""
    start = time.perf_counter()
    for number in range(num_clips):
        task = ('action', 'gesture')[number % 2]
        scene = Scene.sample(first_seed + number, task=task)
        begin = scene.window(0.5, 2.0)
        render(scene, np.linspace(begin, begin + 2.0, FRAMES_PER_CLIP), size)
    return num_clips * FRAMES_PER_CLIP / (time.perf_counter() - start)


def main() -> None:
    """Print the rates, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    parser.add_argument('--clips', type=int, default=60, help='clips per size (default 60)')
    parser.add_argument('--quick', action='store_true', help='a quarter of the clips')
    args = parser.parse_args()
    num_clips = args.clips // 4 if args.quick else args.clips
    cv2.setNumThreads(1)
    result: dict[str, object] = {
        'benchmark': 'rendering',
        'machine': platform.machine(),
        'opencv': cv2.__version__,
        'threads': 1,
        'frames_per_clip': FRAMES_PER_CLIP,
    }
    for size in SIZES:
        frames_per_second(size, 4, 10_000)  # fill the caches
        rate = frames_per_second(size, num_clips, 0)
        result[f'frames_per_sec_{size[0]}x{size[1]}'] = round(rate, 1)
        print(f'{size[0]}x{size[1]}: {rate:.0f} frames/s on one core')
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
