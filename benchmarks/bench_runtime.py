"""
Cost of the node around the network: input, clips, threads and publishing.

1. callback entry to published result / bare forward of the same network, in turns in one process;
2. CPU of the node's input (raw messages read in place, freed memory kept) / of a plain subscriber,
   both hearing the same camera, each in a process of its own; a plain subscriber that keeps freed
   memory stands beside them;
3. a clip from the ring of normalised frames / normalising all its frames anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
import json
import os
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, TaskConfig, TrunkConfig
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.ros.images import picture_from_image
from mtl_perception.ros.memory import keep_freed_memory
from mtl_perception.ros.perception_node import PerceptionNode
from mtl_perception.ros.qos import image_qos
from mtl_perception.ros.transport import use_shipped_transport_profile
from mtl_perception.runtime.clip_buffer import ClipBuffer
from mtl_perception.runtime.results import Results
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
import torch

LIMITS = {'node': 1.05, 'raw': 0.5, 'clip': 1.0}
SIZES = {'640x480': (480, 640), '1280x720': (720, 1280)}
TOPIC = '/bench/image'
LISTENERS = ('raw', 'message', 'message_kept')
RATE_HZ = 30
SECOND = 1_000_000_000


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.listen:
        listen(args.listen, args.seconds)
        return
    if args.publish:
        publish(args.publish)
        return
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    use_shipped_transport_profile()
    keep_freed_memory()
    result = {
        'benchmark': 'runtime',
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'node': {name: measure_node(size, args) for name, size in SIZES.items()},
        'raw': measure_raw(args.seconds),
        'clip': measure_clips(args.repetitions),
        'limits': LIMITS,
    }
    report(result)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description='Cost of the node around the network.')
    parser.add_argument('--width', type=int, default=40, help='of the network; 64 is r3d_18')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repetitions', type=int, default=60)
    parser.add_argument('--seconds', type=float, default=10.0, help='of listening to a camera')
    parser.add_argument('--quick', action='store_true', help='a smaller network, less of all')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    parser.add_argument('--listen', choices=LISTENERS, help=argparse.SUPPRESS)
    parser.add_argument('--publish', choices=tuple(SIZES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.width, args.repetitions, args.seconds = 24, 20, 4.0
    return args


def measure_node(size: tuple[int, int], args: argparse.Namespace) -> dict[str, float]:
    """Return the median times of node and bare forward, and the median ratio of each round."""
    rclpy.init()
    ears = Context()
    rclpy.init(context=ears)
    with tempfile.TemporaryDirectory() as folder:
        path = write_checkpoint(Path(folder) / 'bench.safetensors', args.width)
        node = BenchNode(path, args.device)
    listener = rclpy.create_node('listener', context=ears)
    for message_type, topic in node.results():
        listener.create_subscription(message_type, topic, lambda _: None, 10)
    try:
        return node.compare(size, args.repetitions)
    finally:
        node.close()
        node.destroy_node()
        listener.destroy_node()
        rclpy.shutdown(context=ears)
        rclpy.shutdown()


class BenchNode(PerceptionNode):
    """The node as it is, told of every result that it has published."""

    def __init__(self, checkpoint: Path, device: str) -> None:
        settings = {'checkpoint': str(checkpoint), 'device': device, 'precision': 'float32'}
        overrides = [Parameter(name, value=value) for name, value in settings.items()]
        self._published = threading.Event()
        self._published_sec = 0.0
        super().__init__(parameter_overrides=overrides)
        if not self.start():
            raise RuntimeError('the node did not start')
        assert self._result_publishers is not None
        self._publish_results = self._result_publishers.publish
        self._result_publishers.publish = self._publish_and_tell  # type: ignore[method-assign]

    def _publish_and_tell(self, results: Results, statistics: Any) -> None:
        self._publish_results(results, statistics)
        self._published_sec = time.monotonic()
        self._published.set()

    def results(self) -> list[tuple[Any, str]]:
        """Return type and topic of what is published."""
        assert self._result_publishers is not None
        return self._result_publishers.topics()

    def compare(self, size: tuple[int, int], repetitions: int) -> dict[str, float]:
        """Feed images one after the other; after each, run the bare forward on its own thread."""
        assert self._stream is not None
        on_message = self._stream._input._on_message
        frames = Frames(size)
        while self._stream._recognizer.span_sec < 2.0:
            on_message(frames.next())
        bare = self._bare_forward()
        times: dict[str, list[float]] = {'node': [], 'bare': []}
        for repetition in range(repetitions + 3):
            message = frames.next()
            self._published.clear()
            start = time.monotonic()
            on_message(message)
            self._published.wait(60)
            node_sec, bare_sec = self._published_sec - start, bare()
            if repetition >= 3:
                times['node'].append(1e3 * node_sec)
                times['bare'].append(1e3 * bare_sec)
        statistics = self._stream.statistics
        stages = {
            f'{name}_ms': (getattr(statistics, f'{name}_ms').percentiles(50) or [0.0])[0]
            for name in ('convert', 'infer', 'publish')
        }
        return {
            'node_ms': median(times['node']),
            'bare_ms': median(times['bare']),
            'ratio': median(n / b for n, b in zip(times['node'], times['bare'])),
            **stages,
        }

    def _bare_forward(self) -> Callable[[], float]:
        assert self._engine is not None
        engine, threads = self._engine, self._num_threads
        trunk = engine.config.trunks['clip']
        shape = (1, 3, trunk.num_frames, *trunk.preprocessing.size)
        clip = torch.randn(shape, device=engine.device, dtype=engine.dtype)
        go, done, elapsed = threading.Event(), threading.Event(), [0.0]

        def run() -> None:
            torch.set_num_threads(threads)
            while True:
                go.wait()
                go.clear()
                start = time.monotonic()
                with torch.inference_mode():
                    logits = engine._network({'clip': clip})
                    [values.cpu() for values in logits.values()]
                elapsed[0] = time.monotonic() - start
                done.set()

        threading.Thread(target=run, daemon=True).start()

        def forward() -> float:
            go.set()
            done.wait()
            done.clear()
            return elapsed[0]

        return forward


class Frames:
    """Serialised images of a camera at 30 Hz."""

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = size
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        self._message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
        self._message.data.frombytes(pixels.tobytes())
        self._stamp_ns = 1_000_000 * SECOND

    def next(self) -> bytes:
        """Return the next image."""
        self._stamp_ns += SECOND // RATE_HZ
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(self._stamp_ns, SECOND)
        return serialize_message(self._message)


def write_checkpoint(path: Path, width: int) -> Path:
    """Write a network of two tasks with random weights."""
    preprocessing = PreprocessingConfig(resize=(112, 149), crop=(112, 112))
    trunk = TrunkConfig(width=width, num_frames=16, preprocessing=preprocessing)
    labels = tuple(f'label{i}' for i in range(10))
    tasks = {name: TaskConfig(labels=labels) for name in ('action', 'gesture')}
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    return path


def measure_raw(seconds: float) -> dict[str, float]:
    """Return the CPU milliseconds per 1280x720 image of both ways to read it, and their ratio."""
    command = [sys.executable, '-m', 'benchmarks.bench_runtime', '--seconds', str(seconds)]
    camera = subprocess.Popen([*command, '--publish', '1280x720'])
    try:
        listeners = {
            name: subprocess.Popen([*command, '--listen', name], stdout=subprocess.PIPE, text=True)
            for name in LISTENERS
        }
        found = {n: json.loads(process.communicate()[0]) for n, process in listeners.items()}
    finally:
        camera.terminate()
        camera.wait()
    per_image = {n: 1e3 * f['cpu_sec'] / max(f['images'], 1) for n, f in found.items()}
    return {
        **{f'{name}_cpu_ms': value for name, value in per_image.items()},
        **{f'{name}_images': f['images'] for name, f in found.items()},
        'ratio': per_image['raw'] / per_image['message'],
        'ratio_to_kept': per_image['raw'] / per_image['message_kept'],
    }


def publish(size: str) -> None:
    """Be a camera at 30 Hz until told to stop."""
    rclpy.init()
    node = rclpy.create_node('bench_camera')
    camera = node.create_publisher(Image, TOPIC, image_qos(1))
    height, width = SIZES[size]
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data.frombytes(bytes(height * width * 3))
    node.create_timer(1 / RATE_HZ, lambda: camera.publish(message))
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


def listen(how: str, seconds: float) -> None:
    """Take images in one of both ways and print how much CPU that took."""
    if how != 'message':
        keep_freed_memory()
    rclpy.init()
    node = rclpy.create_node(f'bench_{how}')
    count = 0

    def on_raw(message: bytes) -> None:
        nonlocal count
        count += int(picture_from_image(message)[1].pixels.ndim == 3)

    def on_message(message: Image) -> None:
        nonlocal count
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        count += int(pixels.ndim == 3)

    is_raw = how == 'raw'
    node.create_subscription(
        Image, TOPIC, on_raw if is_raw else on_message, image_qos(5), raw=is_raw
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    give_up = time.monotonic() + 30
    while count < RATE_HZ and time.monotonic() < give_up:  # warm up
        executor.spin_once(timeout_sec=0.5)
    count, start_cpu, end = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.5)
    print(json.dumps({'cpu_sec': time.process_time() - start_cpu, 'images': count}))


def measure_clips(repetitions: int) -> dict[str, float]:
    """Return the milliseconds per image of both ways to make a clip, and their ratio."""
    preprocessor = FramePreprocessor(PreprocessingConfig(resize=(112, 149), crop=(112, 112)))
    buffer = ClipBuffer(32, 1.0, (112, 112))
    frames = torch.randint(0, 256, (buffer.capacity, 3, 112, 112), dtype=torch.uint8)
    chosen = torch.arange(0, 64, 2)
    times: dict[str, list[float]] = {'ring': [], 'anew': []}
    with torch.inference_mode():
        for index in range(repetitions + 40):
            start = time.perf_counter()
            buffer.append(preprocessor.normalise(frames[:1])[0], SECOND + index * SECOND // 30)
            buffer.snapshot()
            middle = time.perf_counter()
            preprocessor.normalise(frames[chosen].transpose(0, 1).contiguous(), channel_axis=0)
            if index >= 40:  # the ring is full
                times['ring'].append(1e3 * (middle - start))
                times['anew'].append(1e3 * (time.perf_counter() - middle))
    ratio = median(ring / anew for ring, anew in zip(times['ring'], times['anew']))
    return {**{f'{name}_ms': median(values) for name, values in times.items()}, 'ratio': ratio}


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    table = Table('what', 'ms', 'beside', 'ms', 'ratio', 'goal', title='Around the network')

    def row(what: str, one: float, beside: str, other: float, ratio: float, limit: float) -> None:
        verdict = f'<= {limit}: {"met" if ratio <= limit else "missed"}'
        table.add_row(what, f'{one:.2f}', beside, f'{other:.2f}', f'{ratio:.3f}', verdict)

    for name, found in result['node'].items():
        what = f'node, {name}: callback to published'
        row(what, found['node_ms'], 'forward', found['bare_ms'], found['ratio'], LIMITS['node'])
    found = result['raw']
    row(
        'CPU of the input, 1280x720',
        found['raw_cpu_ms'],
        'plain subscriber',
        found['message_cpu_ms'],
        found['ratio'],
        LIMITS['raw'],
    )
    found = result['clip']
    row(
        'clip from the ring',
        found['ring_ms'],
        'anew',
        found['anew_ms'],
        found['ratio'],
        LIMITS['clip'],
    )
    Console().print(table)


if __name__ == '__main__':
    main()
