"""
Images on their way: how many arrive with and without the shipped Fast DDS profile, at what cost.

1. delivered / published at 30 Hz, publisher and best-effort subscriber in processes of their own,
   with Fast DDS as it comes and with the shipped profile, in turns (goal with it >= 0.99);
2. filling an image message / memcpy of its pixels (goal <= 5);
3. building and serialising 170 keypoints as 10 HumanPose with their arrays / as 170 messages of
   three numbers each, the thinnest that could be nested.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
import json
import os
from pathlib import Path
import random
import resource
from statistics import median
import subprocess
import sys
import time
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point32, Polygon
from mtl_perception.msg import HumanPose, HumanPoseArray
from mtl_perception.ros.cdr import read_image
from mtl_perception.ros.image_writer import ImageWriter
from mtl_perception.ros.qos import image_qos
from mtl_perception.ros.transport import PROFILE_VARIABLES, use_shipped_transport_profile
from mtl_perception.ros.video_node import IMAGE_QOS
import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.serialization import serialize_message
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

SIZES = ((480, 640), (720, 1280))
PROFILES = ('default', 'shipped')
RATE_HZ = 30.0
GOALS = {'delivered': 0.99, 'fill / memcpy': 5.0}
NUM_PEOPLE, NUM_JOINTS = 10, 17
TIMEOUT_SEC = 60.0


def publish(size: tuple[int, int], num_frames: int) -> dict[str, Any]:
    """Publish images at the rate, and return what it took; runs in a process of its own."""
    rclpy.init()
    node = rclpy.create_node('bench_publisher')
    publisher = node.create_publisher(Image, 'image', IMAGE_QOS)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    writer = ImageWriter('bgr8', 'camera')
    end_sec = time.monotonic() + TIMEOUT_SEC
    while publisher.get_subscription_count() == 0 and time.monotonic() < end_sec:
        time.sleep(0.02)
    time.sleep(1.0)  # the subscriber has to find the publisher, too
    start_sec, cpu_sec, publish_ms = time.monotonic(), cpu_seconds(), []
    for index in range(num_frames):
        time.sleep(max(0.0, start_sec + index / RATE_HZ - time.monotonic()))
        before_ns = time.time_ns()
        stamp = Time(sec=before_ns // 1_000_000_000, nanosec=before_ns % 1_000_000_000)
        publisher.publish(writer.write(pixels, stamp))
        publish_ms.append((time.time_ns() - before_ns) * 1e-6)
    seconds = time.monotonic() - start_sec
    cpu = (cpu_seconds() - cpu_sec) / seconds
    publisher.wait_for_all_acked(Duration(seconds=2))
    time.sleep(0.5)
    rclpy.try_shutdown()
    return {'published': num_frames, 'cpu': cpu, 'publish_ms_max': max(publish_ms)}


def subscribe(idle_sec: float) -> dict[str, Any]:
    """Hear images as the perception node does until they stop; runs in a process of its own."""
    rclpy.init()
    node = rclpy.create_node('bench_subscriber')
    latencies_ms: list[float] = []

    def on_image(message: bytes) -> None:
        image = read_image(message)
        latencies_ms.append((time.time_ns() - image.header.stamp_ns()) * 1e-6)

    node.create_subscription(Image, 'image', on_image, image_qos(5), raw=True)
    end_sec = time.monotonic() + TIMEOUT_SEC
    while not node.count_publishers('image') and time.monotonic() < end_sec:
        rclpy.spin_once(node, timeout_sec=0.1)
    start_sec, cpu_sec = time.monotonic(), cpu_seconds()
    # The publisher's departure ends it; without that, a long silence.
    end_sec = start_sec + idle_sec
    while node.count_publishers('image') and time.monotonic() < end_sec:
        rclpy.spin_once(node, timeout_sec=0.1)
    cpu = (cpu_seconds() - cpu_sec) / (time.monotonic() - start_sec)
    rclpy.try_shutdown()
    found = np.percentile(latencies_ms, [50, 95]) if latencies_ms else (None, None)
    return {'delivered': len(latencies_ms), 'cpu': cpu, 'p50_ms': found[0], 'p95_ms': found[1]}


def cpu_seconds() -> float:
    """Return the processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure_delivery(profile: str, size: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Let a publisher and a subscriber meet, and return what arrived."""
    environ = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
    environ |= {
        'ROS_DOMAIN_ID': str(random.randint(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    if profile == 'shipped':
        use_shipped_transport_profile(environ)
    num_frames = round(seconds * RATE_HZ)
    subscriber = start(['subscribe', str(seconds + 20)], environ)
    publisher = start(['publish', f'{size[0]}x{size[1]}', str(num_frames)], environ)
    sent, heard = result_of('publisher', publisher), result_of('subscriber', subscriber)
    return {
        'profile': profile,
        'size': f'{size[0]}x{size[1]}',
        'published': sent['published'],
        'delivered': heard['delivered'],
        'delivered / published': round(heard['delivered'] / sent['published'], 4),
        'latency_ms': {'p50': heard['p50_ms'], 'p95': heard['p95_ms']},
        'publish_ms_max': round(sent['publish_ms_max'], 2),
        'publisher_cpu': round(sent['cpu'], 4),
        'subscriber_cpu': round(heard['cpu'], 4),
    }


def start(role: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start one side of the conversation."""
    command = [sys.executable, '-m', 'benchmarks.bench_transport', '--role', *role]
    return subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE, text=True)


def result_of(role: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a process printed last, as JSON."""
    output, _ = process.communicate(timeout=4 * TIMEOUT_SEC)
    if process.returncode != 0:
        raise RuntimeError(f'{role} ended with code {process.returncode}.')
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def measure_fill(size: tuple[int, int], repetitions: int) -> float:
    """Return filling a message / copying its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    target, writer, stamp = np.empty_like(pixels), ImageWriter('bgr8', 'camera'), Time()
    writer.write(pixels, stamp)
    return ratio(
        lambda: writer.write(pixels, stamp), lambda: np.copyto(target, pixels), repetitions
    )


def measure_flat(repetitions: int) -> float:
    """Return building and serialising flat keypoints / nested ones."""
    values = np.random.default_rng(0).uniform(0, 640, (NUM_PEOPLE, 3, NUM_JOINTS))
    values = values.astype(np.float32)

    def flat() -> bytes:
        people = [HumanPose(x=x, y=y, keypoint_score=score) for x, y, score in values]
        return serialize_message(HumanPoseArray(poses=people))

    def nested() -> bytes:
        points = [
            Point32(x=float(x), y=float(y), z=float(score))
            for person in values
            for x, y, score in person.T
        ]
        return serialize_message(Polygon(points=points))

    return ratio(flat, nested, repetitions)


def ratio(ours: Callable[[], Any], reference: Callable[[], Any], repetitions: int) -> float:
    """Return the median of a duration over that of another, measured in turns."""
    durations: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        for function, times in zip((ours, reference), durations):
            start_sec = time.perf_counter()
            function()
            times.append(time.perf_counter() - start_sec)
    return median(durations[0]) / median(durations[1])


def run(seconds: float, repetitions: int) -> dict[str, Any]:
    """Measure everything."""
    deliveries = [
        measure_delivery(profile, size, seconds) for size in SIZES for profile in PROFILES
    ]
    shipped = [row for row in deliveries if row['profile'] == 'shipped']
    fills = {f'{h}x{w}': round(measure_fill((h, w), repetitions), 3) for h, w in SIZES}
    flat = round(measure_flat(repetitions), 4)
    return {
        'benchmark': 'transport',
        'rate_hz': RATE_HZ,
        'deliveries': deliveries,
        'fill / memcpy': fills,
        'flat / nested': flat,
        'goals': GOALS,
        'passed': {
            'delivered': all(
                row['delivered / published'] >= GOALS['delivered'] for row in shipped
            ),
            'fill / memcpy': max(fills.values()) <= GOALS['fill / memcpy'],
        },
    }


def show(result: Mapping[str, Any]) -> None:
    """Print the result for people."""
    table = Table(title=f'Images at {RATE_HZ:g} Hz, best-effort subscriber')
    for name in ('size', 'profile', 'delivered', 'p50', 'p95', 'publisher CPU', 'subscriber CPU'):
        table.add_column(name, justify='left' if name in ('size', 'profile') else 'right')
    for row in result['deliveries']:
        latency = [f'{v:.1f} ms' if v is not None else '-' for v in row['latency_ms'].values()]
        shares = [f'{row[key]:.0%}' for key in ('publisher_cpu', 'subscriber_cpu')]
        share = f'{row["delivered / published"]:.1%}'
        table.add_row(row['size'], row['profile'], share, *latency, *shares)
    console = Console()
    console.print(table)
    for size, value in result['fill / memcpy'].items():
        console.print(f'filling an image of {size} / memcpy: {value:.2f} (goal <= 5)')
    console.print(f'flat keypoints / nested: {result["flat / nested"]:.3f}')
    for name, has_passed in result['passed'].items():
        console.print(f'{"ok  " if has_passed else "MISS"} {name}')


def main() -> int:
    """Measure and print; as a child process, take one part of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='3 s per case instead of 15')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    parser.add_argument('--role', nargs='+', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        role, *values = arguments.role
        if role == 'subscribe':
            print(json.dumps(subscribe(float(values[0]))))
        else:
            height, width = map(int, values[0].split('x'))
            print(json.dumps(publish((height, width), int(values[1]))))
        return 0
    result = run(3.0, 100) if arguments.quick else run(15.0, 300)
    show(result)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
