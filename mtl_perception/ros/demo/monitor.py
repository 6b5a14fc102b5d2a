"""The demo's own ears: a node that hears images, truth, results and diagnostics over DDS."""

from __future__ import annotations

from collections.abc import Callable
import json
import time
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray
from mtl_perception.msg import RecognizedAction, RecognizedGesture
from mtl_perception.network.config import NetworkConfig
from mtl_perception.ros.demo.people import TrueFrame
from mtl_perception.ros.demo.people_monitor import described, frame_tasks, PeopleMonitor, to_ns
from mtl_perception.ros.demo.scoring import ACTIVITY, HeardResult, Scene
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

    def on_image(self, pixels: NDArray[np.uint8], is_rgb: bool, stamp_ns: int) -> None:
        """An image came; the pixels are only valid during the call."""


class DemoMonitor(Node):
    """
    Hears everything and keeps what the summary needs.

    :param config: Of the network that runs: whether it has tasks that look at people.
    """

    def __init__(self, listener: Listener, config: NetworkConfig, **kwargs: Any) -> None:
        super().__init__('demo_monitor', **kwargs)
        self._listener = listener
        self._frame_tasks = frame_tasks(config)
        self.people = self._hear_people()
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
            scene = self._open.pop(0)[1]
            if self.people is not None:
                scene.people = self.people.score(scene)
            self._listener.on_scene(scene)

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
        tasks = {
            task: tuple(labels)
            for task, labels in json.loads(message.data).items()
            if task not in self._frame_tasks.values()
        }
        for task in tasks.keys() - self.tasks.keys():
            callback = self._on_result(task)
            self.create_subscription(message_type(task), topic_of(task), callback, results_qos())
        self.tasks = tasks

    def _on_image(self, message: Image) -> None:
        stamp_ns = to_ns(message.header.stamp)
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
            pixels.reshape(message.height, message.width, 3), message.encoding == 'rgb8', stamp_ns
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

    def _hear_people(self) -> PeopleMonitor | None:
        if 'detection' not in self._frame_tasks:
            return None
        # The newest scene of activities: its number in the stream, and who does what in it.
        self._of_activities: tuple[int, Scene, dict[int, str]] | None = None
        return PeopleMonitor(
            self,
            f'{VIDEO}/truth',
            self._on_true_frame,
            has_poses='association' in self._frame_tasks,
            has_activities='activity' in self._frame_tasks,
        )

    def _on_true_frame(self, truth: TrueFrame) -> None:
        """Open the scenes that no label announces: those of activities."""
        if not truth.is_of_activities:
            return
        if self._of_activities is None or self._of_activities[0] != truth.scene:
            self._begin_scene(ACTIVITY, '', truth.stamp_ns)
            self._of_activities = (truth.scene, self.scenes[-1], {})
        _, scene, cast = self._of_activities
        cast.update(zip(truth.people, truth.activities))
        scene.truth = described(cast.values())

    def _on_truth(self, task: str) -> Callable[[Any], None]:
        def on_truth(message: Any) -> None:
            self._begin_scene(task, message.label, to_ns(message.header.stamp))

        return on_truth

    def _begin_scene(self, task: str, truth: str, start_ns: int) -> None:
        # The last image of the scene before came already or is under way; in either case its
        # stamp is below that of the first image of this one.
        self._end_scene(start_ns - 1)
        self.scenes.append(Scene(len(self.scenes) + 1, task, truth, start_ns))

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
                clip_start_ns=to_ns(message.clip_start),
                stamp_ns=to_ns(message.header.stamp),
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
