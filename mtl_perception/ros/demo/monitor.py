"""The demo's own ears: a node that hears images, truth, results and diagnostics over DDS."""

from __future__ import annotations

from collections.abc import Callable
import json
import time
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.msg import RecognizedAction, RecognizedGesture
from mtl_perception.ros.demo.scoring import HeardResult, Scene
from mtl_perception.ros.messages import message_type, topic_of
from mtl_perception.ros.qos import latched_qos, results_qos
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

IMAGE_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
TRUTH_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
# How long after its end a scene waits for results that are still being computed.
GRACE_SEC = 1.5
PERCEPTION, VIDEO = 'perception_node', 'video_node'


class Listener(Protocol):
    """What wants to know of it as it happens."""

    def on_scene(self, scene: Scene) -> None:
        """A scene is over, and so is the wait for its results."""

    def on_label(self, result: HeardResult) -> None:
        """A task's label has changed."""

    def on_warning(self, text: str) -> None:
        """Frames were lost or refused."""

    def on_image(self, pixels: NDArray[np.uint8], is_rgb: bool) -> None:
        """An image came; the pixels are only valid during the call."""


class DemoMonitor(Node):
    """Hears everything and keeps what the summary needs."""

    def __init__(self, listener: Listener, **kwargs: Any) -> None:
        super().__init__('demo_monitor', **kwargs)
        self._listener = listener
        self.tasks: dict[str, tuple[str, ...]] = {}
        self.scenes: list[Scene] = []
        self.results: dict[str, list[HeardResult]] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.num_images = 0
        self.num_lost = 0
        self.first_stamp_ns = self.last_stamp_ns = 0
        self._open: list[tuple[float, Scene]] = []  # ended scenes, and when they are settled
        self._period_ns = 0
        self._troubles: dict[str, int] = {}
        self._listen()

    def settle(self, *, all_of_them: bool = False) -> None:
        """Close the scenes whose wait for results is over; call it regularly."""
        now_sec = time.monotonic()
        while self._open and (all_of_them or self._open[0][0] <= now_sec):
            self._listener.on_scene(self._open.pop(0)[1])

    def end_of_video(self) -> None:
        """Note that no further image will come: the last scene is over."""
        self._end_scene(self.last_stamp_ns)

    def current_scene(self) -> Scene | None:
        """Return the scene that is being shown."""
        return self.scenes[-1] if self.scenes and self.scenes[-1].end_ns is None else None

    def seconds(self) -> float:
        """Return the time from the first image to the newest, by their stamps."""
        return (self.last_stamp_ns - self.first_stamp_ns) * 1e-9

    def rate_hz(self) -> float:
        """Return the images per second, by their stamps."""
        seconds = self.seconds()
        return (self.num_images - 1) / seconds if seconds > 0 else 0.0

    def diagnostic(self, node: str, key: str) -> int | None:
        """Return a number that a node said last on /diagnostics."""
        value = self.diagnostics.get(node, {}).get(key)
        return int(value) if value is not None else None

    def _listen(self) -> None:
        subscribe: Callable[..., Any] = self.create_subscription
        subscribe(Image, 'image', self._on_image, IMAGE_QOS)
        for task, kind in (('action', RecognizedAction), ('gesture', RecognizedGesture)):
            subscribe(kind, f'{VIDEO}/true_{task}', self._on_truth(task), TRUTH_QOS)
        subscribe(String, f'{PERCEPTION}/labels', self._on_labels, latched_qos())
        subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_labels(self, message: String) -> None:
        tasks = {task: tuple(labels) for task, labels in json.loads(message.data).items()}
        for task in tasks.keys() - self.tasks.keys():
            callback = self._on_result(task)
            self.create_subscription(message_type(task), topic_of(task), callback, results_qos())
        self.tasks = tasks

    def _on_image(self, message: Image) -> None:
        stamp_ns = _to_ns(message.header.stamp)
        self.num_images += 1
        if self.num_images == 1:
            self.first_stamp_ns = stamp_ns
        else:
            self._look_for_gaps(stamp_ns - self.last_stamp_ns)
        self.last_stamp_ns = stamp_ns
        scene = self.current_scene()
        if scene is not None:
            scene.num_images += 1
        pixels = np.frombuffer(message.data, np.uint8)
        pixels = pixels.reshape(message.height, message.step)[:, : message.width * 3]
        self._listener.on_image(
            pixels.reshape(message.height, message.width, 3), message.encoding == 'rgb8'
        )

    def _look_for_gaps(self, step_ns: int) -> None:
        if self._period_ns and step_ns > 1.8 * self._period_ns:
            lost = round(step_ns / self._period_ns) - 1
            self.num_lost += lost
            self._listener.on_warning(
                f'{lost} frame(s) missing after image {self.num_images - 1}: lost, or the video '
                'paused'
            )
        else:
            # Follows the rate of a video whose frames are not evenly spaced.
            self._period_ns = step_ns if not self._period_ns else (
                (7 * self._period_ns + step_ns) // 8
            )  # fmt: skip

    def _on_truth(self, task: str) -> Callable[[Any], None]:
        def on_truth(message: Any) -> None:
            start_ns = _to_ns(message.header.stamp)
            # The last image of the scene before came already or is under way; in either case its
            # stamp is below that of the first image of this one.
            self._end_scene(start_ns - 1)
            number = len(self.scenes) + 1
            self.scenes.append(Scene(number, task, message.label, start_ns))

        return on_truth

    def _end_scene(self, end_ns: int) -> None:
        scene = self.current_scene()
        if scene is not None:
            scene.end(end_ns)
            self._open.append((time.monotonic() + GRACE_SEC, scene))

    def _on_result(self, task: str) -> Callable[[Any], None]:
        heard = self.results.setdefault(task, [])

        def on_result(message: Any) -> None:
            result = HeardResult(
                task=task,
                clip_start_ns=_to_ns(message.clip_start),
                stamp_ns=_to_ns(message.header.stamp),
                heard_ns=self.get_clock().now().nanoseconds,
                label=message.label,
                scores={item.label: item.score for item in message.top_k},
            )
            if not heard or heard[-1].label != result.label:
                self._listener.on_label(result)
            heard.append(result)
            for scene in (*(ended for _, ended in self._open), self.current_scene()):
                if scene is not None:
                    scene.add(result)

        return on_result

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node = status.name.split(':')[0]
            values = {item.key: item.value for item in status.values}
            self.diagnostics.setdefault(node, {}).update(values)
            for key, value in values.items():
                if key.startswith('refused: ') and int(value) > self._troubles.get(key, 0):
                    self._troubles[key] = int(value)
                    self._listener.on_warning(f'{node} has {key} = {value} frame(s)')


def _to_ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
