"""Starts camera and perception as processes, listens until the video ends, and sums up."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
import json
import os
from pathlib import Path
import random
import signal
import time
from types import FrameType
from typing import Any

from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_perception.ros.demo.monitor import DemoMonitor, GRACE_SEC, PERCEPTION, VIDEO
from mtl_perception.ros.demo.people_monitor import frame_tasks
from mtl_perception.ros.demo.processes import NodeProcess
from mtl_perception.ros.demo.report import num_heard, problems_of, Report
from mtl_perception.ros.demo.scenes import (
    default_num_scenes,
    figures_asked,
    scene_turns,
    scenes_task,
)
from mtl_perception.ros.demo.scoring import ACTIVITY
from mtl_perception.ros.demo.show import Show
from mtl_perception.ros.demo.summary import summarise
from mtl_perception.ros.perception_node import find_checkpoint
from mtl_perception.ros.signals import ignore_signals
from mtl_perception.ros.transport import use_shipped_transport_profile
from mtl_perception.ros.video_parameters import SCENES
from mtl_perception.runtime.video_source import open_video, VideoSourceError
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

# Ports of these domains collide with nothing on any platform; 0 is everybody's.
_DOMAINS = range(1, 102)
_START_TIMEOUT_SEC = 180.0
_MAX_VIDEO_HEIGHT = 480
_MODULE = 'mtl_perception.ros'
# Two beats of the nodes' diagnostics, so that the last one counts every frame.
_LAST_COUNT_SEC = 2.2
INTERRUPTED = 130


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


class Demo:
    """Starts the nodes, listens until the video ends, and sums up."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._options, self._report = options, report
        self._checkpoint = find_checkpoint(options.checkpoint)
        self._config: NetworkConfig = load_checkpoint(self._checkpoint).config
        self._turns = scene_turns(self._config, options.task)
        if ACTIVITY in self._turns and not frame_tasks(self._config):
            raise DemoError(
                f'--task {options.task} shows activities, {self._checkpoint} knows none.'
            )
        self._is_interrupted = False
        options.out.mkdir(parents=True, exist_ok=True)

    def run(self) -> int:
        """Run the demo; return the exit code."""
        options = self._options
        domain = options.domain_id or random.SystemRandom().choice(_DOMAINS)
        os.environ.update(ROS_DOMAIN_ID=str(domain), ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
        if os.environ.get('ROS_DISTRO') == 'humble':  # knows no discovery range
            os.environ['ROS_LOCALHOST_ONLY'] = '1'
        use_shipped_transport_profile()
        with ExitStack() as handlers:
            for number in (signal.SIGINT, signal.SIGTERM):
                handlers.callback(signal.signal, number, signal.signal(number, self._interrupt))
            code = self._show(domain)
            if self._is_interrupted:
                ignore_signals()
                handlers.pop_all()
            return code

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True

    def _show(self, domain: int) -> int:
        options = self._options
        video, rate_hz = self._video_parameters()
        self._introduce(domain)
        with ExitStack() as stack:
            rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
            stack.callback(rclpy.try_shutdown)
            show = Show(
                self._report, options.out / 'demo.mp4', rate_hz, has_truth=not options.video
            )
            stack.callback(show.close)
            show.monitor = monitor = DemoMonitor(show, self._config)
            self._watch(monitor, *self._start_nodes(stack, video))
        summary = summarise(monitor, self._facts(show, video, rate_hz))
        return self._conclude(summary)

    def _video_parameters(self) -> tuple[dict[str, Any], float]:
        options = self._options
        parameters: dict[str, Any] = {
            'source': options.video or SCENES,
            'size': options.size,
            'rate_hz': options.rate,
            'wait_for_subscribers': 2,
            'wait_timeout_sec': _START_TIMEOUT_SEC,
            # A best-effort subscriber must have found the publisher too.
            'start_delay_sec': 1.0,
        }
        if options.video is None:
            parameters |= {
                'scenes_count': self._num_scenes(),
                'scenes_seed': options.seed,
                'scenes_task': options.task or scenes_task(self._config),
            }
            return parameters, options.rate or 20.0
        if Path(options.video).expanduser().exists() and not options.video.startswith('/dev/'):
            with open_video(options.video, rate_hz=options.rate or None) as source:
                first = next(iter(source))
                rate_hz = source.rate_hz
            height, width = first.pixels.shape[:2]
            if not options.size and height > _MAX_VIDEO_HEIGHT:
                # The network sees far less; larger images only cost time on their way.
                width = 2 * round(width * _MAX_VIDEO_HEIGHT / height / 2)
                parameters['size'] = f'{_MAX_VIDEO_HEIGHT}x{width}'
            return parameters, rate_hz
        is_camera = options.video.isdecimal() or options.video.startswith('/dev/')
        if not is_camera and '://' not in options.video:
            raise VideoSourceError(f'{options.video}: no such file, folder or camera.')
        return parameters, options.rate or 30.0

    def _num_scenes(self) -> int:
        return self._options.scenes or default_num_scenes(self._config, self._turns)

    def _introduce(self, domain: int) -> None:
        what = self._options.video or f'{self._num_scenes()} rendered scenes of known truth'
        self._report.line(f'{what} -> video_node -> DDS -> perception_node -> DDS -> this demo')
        self._report.note(
            f'checkpoint {self._checkpoint}; look on with: ROS_DOMAIN_ID={domain} '
            'ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ros2 topic echo /recognized_action'
        )

    def _start_nodes(
        self, stack: ExitStack, video: dict[str, Any]
    ) -> tuple[NodeProcess, NodeProcess]:
        perception = {'checkpoint': str(self._checkpoint), 'device': self._options.device}
        nodes = []
        for name, parameters in ((PERCEPTION, perception), (VIDEO, video)):
            log = self._options.out / f'{name}.log'
            node = NodeProcess(f'{_MODULE}.{name}', parameters, log=log, environ=os.environ)
            stack.callback(node.stop)
            nodes.append(node)
        return nodes[0], nodes[1]

    def _watch(self, monitor: DemoMonitor, perception: NodeProcess, video: NodeProcess) -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(monitor)
        start_sec, ended_sec = time.monotonic(), None
        while not self._is_interrupted:
            executor.spin_once(timeout_sec=0.05)
            monitor.settle()
            now_sec = time.monotonic()
            if perception.exit_code() is not None:
                raise _death(perception)
            if self._options.seconds and monitor.seconds() > self._options.seconds:
                video.stop()
            if video.exit_code() is not None and ended_sec is None:
                if video.exit_code() != 0:
                    raise _death(video)
                ended_sec = now_sec
                monitor.end_of_video()
            if ended_sec is not None and now_sec > ended_sec + max(GRACE_SEC, _LAST_COUNT_SEC):
                break
            if monitor.num_images == 0 and now_sec - start_sec > _START_TIMEOUT_SEC:
                raise DemoError(f'no image came within {_START_TIMEOUT_SEC:.0f} s.')
        monitor.end_of_video()
        monitor.settle(all_of_them=True)

    def _facts(self, show: Show, video: dict[str, Any], rate_hz: float) -> dict[str, Any]:
        show.close()
        turns = () if self._options.video else self._turns
        clips = self._config.trunks_of('clip').values()
        return {
            'film': str(show.film.path),
            'film_frames_left_out': show.film.num_skipped,
            'checkpoint': str(self._checkpoint),
            'video': video,
            'rate_asked_hz': rate_hz,
            'clip_seconds': max((trunk.clip_seconds for trunk in clips), default=0.0),
            'tasks_asked': [t for t in turns if t != ACTIVITY],
            'people_asked': figures_asked(self._config, turns),
            'interrupted': self._is_interrupted,
        }

    def _conclude(self, summary: dict[str, Any]) -> int:
        path = self._options.out / 'summary.json'
        path.write_text(json.dumps(summary, indent=2) + '\n')
        if self._options.video:
            self._report.timeline(summary['timeline'])
        self._report.summary(summary)
        if summary['frames_dropped']:
            self._report.warning(f'{summary["frames_dropped"]} frame(s) were dropped')
        if self._is_interrupted:
            self._report.line('Interrupted.')
            return INTERRUPTED
        problems = self._problems(summary)
        self._report.verdict(problems)
        return 1 if problems else 0

    def _problems(self, summary: dict[str, Any]) -> list[str]:
        if not self._options.video:
            return problems_of(summary)
        if num_heard(summary):
            return []
        length_sec, clip_sec = summary['video_sec'], summary['clip_seconds']
        if length_sec < clip_sec:
            self._report.line(
                f'The video lasts {length_sec:.1f} s, less than one clip of {clip_sec:.1f} s: '
                'nothing could be recognized.'
            )
            return []
        return ['no result was heard.']


def _death(process: NodeProcess) -> DemoError:
    return DemoError(
        f'{process.name} ended with code {process.exit_code()}; the end of {process.log}:\n'
        f'{process.last_words()}'
    )
