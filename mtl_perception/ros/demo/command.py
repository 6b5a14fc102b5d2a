"""The demo's command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtl_perception.checkpoint import CheckpointError
from mtl_perception.ros.demo.demo import Demo, DemoError, INTERRUPTED
from mtl_perception.ros.demo.report import Report
from mtl_perception.ros.memory import keep_freed_memory
from mtl_perception.ros.signals import ignore_signals
from mtl_perception.ros.video_parameters import parse_size
from mtl_perception.runtime.scene_stream import SCENE_TASKS
from mtl_perception.runtime.video_source import VideoSourceError


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo', description='Run camera and perception over DDS and watch.'
    )
    add = parser.add_argument
    add('--video', help='a video file, a folder of images, a camera index or /dev/video*')
    add('--checkpoint', default='', help='default: the demo checkpoint')
    add('--device', default='auto', help="where the network runs: 'auto', 'cpu', 'cuda'")
    add('--out', type=Path, default=Path('out/demo'), help='folder of the film and the summary')
    add('--scenes', type=int, default=0, help='how many scenes (default: two of each class)')
    add(
        '--task',
        choices=SCENE_TASKS,
        help="what people do in the scenes; 'both': actions and gestures in turns, 'all': "
        'activities too (default: all that the checkpoint knows)',
    )
    add('--seed', type=int, default=2024, help='which scenes')
    add('--size', default='', help='HEIGHTxWIDTH of the images')
    add('--rate', type=float, default=0.0, help="frames per second; default: the video's own")
    add('--seconds', type=float, default=0.0, help='end after so long (a camera never ends)')
    add('--domain-id', type=int, default=0, help='ROS domain (default: one at random)')
    options = parser.parse_args(arguments)
    try:
        parse_size(options.size)
    except ValueError as error:
        parser.error(f'--{error}')
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit code: 0 if it went well, 1 if not, 130 after Ctrl-C."""
    keep_freed_memory()
    report = Report()
    try:
        return Demo(_parse(arguments), report).run()
    except (DemoError, CheckpointError, VideoSourceError, OSError) as error:
        report.verdict([str(error)])
        return 1
    except KeyboardInterrupt:  # before the demo proper
        ignore_signals()
        report.line('Interrupted.')
        return INTERRUPTED
