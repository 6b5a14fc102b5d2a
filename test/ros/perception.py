"""What a test of the perception node needs: a camera, ears, and a small network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
from pathlib import Path
import signal
import subprocess
import time
from typing import Any, cast

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from image_messages import image_msg, SECOND
from lifecycle_msgs.srv import ChangeState, GetState
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.msg import (
    HumanPoseArray,
    RecognizedAction,
    RecognizedActivityArray,
    RecognizedGesture,
    SceneCaption,
)
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.heads import RelevanceHead
from mtl_perception.network.multitask import MultiTaskNetwork
import numpy as np
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
import torch

MODULE = 'mtl_perception.ros.perception_node'
ACTIONS, GESTURES = ('walk', 'run', 'sit'), ('wave', 'stop')
CLIP_SEC = 0.5
LONG = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


# How probable the network of the tests takes it that there is any gesture.
GESTURE_RELEVANCE = 0.7


def write_checkpoint(path: Path, *, seed: int = 0, extra_task: bool = False) -> Path:
    """Write a small network with random weights whose scores depend on what it sees."""
    tasks = {
        'action': TaskConfig(labels=ACTIONS),
        'gesture': TaskConfig(labels=GESTURES, relevance=True),
    }
    if extra_task:
        tasks['mood'] = TaskConfig(labels=('glad', 'sad'))
    trunk = TrunkConfig(
        width=4,
        num_frames=4,
        clip_seconds=CLIP_SEC,
        preprocessing=PreprocessingConfig(resize=(32, 32)),
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    with torch.no_grad():
        for head in network.heads.values():
            for parameter in head.parameters():
                parameter.mul_(3)
        logit = math.log(GESTURE_RELEVANCE / (1 - GESTURE_RELEVANCE))
        cast('RelevanceHead', network.relevance['gesture']).bias.fill_(logit)
    torch.set_rng_state(state)
    save_checkpoint(path, network, metrics={}, training={})
    return path


class Ears:
    """Hears everything that a perception node in a namespace says."""

    def __init__(self, node: Any, namespace: str) -> None:
        self.actions: list[RecognizedAction] = []
        self.gestures: list[RecognizedGesture] = []
        self.captions: list[SceneCaption] = []
        self.poses: list[HumanPoseArray] = []
        self.activities: list[RecognizedActivityArray] = []
        self.labels: list[str] = []
        self.statuses: list[DiagnosticStatus] = []
        self._name = f'{namespace.lstrip("/")}/perception_node'
        listen = node.create_subscription
        listen(RecognizedAction, f'{namespace}/recognized_action', self.actions.append, LONG)
        listen(RecognizedGesture, f'{namespace}/recognized_gesture', self.gestures.append, LONG)
        listen(SceneCaption, f'{namespace}/scene_caption', self.captions.append, LONG)
        listen(HumanPoseArray, f'{namespace}/human_poses', self.poses.append, LONG)
        listen(
            RecognizedActivityArray,
            f'{namespace}/recognized_activities',
            self.activities.append,
            LONG,
        )
        listen(String, f'{namespace}/perception_node/labels', self._on_labels, LATCHED)
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, LONG)

    def _on_labels(self, message: String) -> None:
        self.labels.append(message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses += [s for s in message.status if s.name.startswith(self._name)]

    def clear(self) -> None:
        """Forget what was heard."""
        for heard in (
            self.actions,
            self.gestures,
            self.captions,
            self.poses,
            self.activities,
            self.statuses,
        ):
            heard.clear()

    def action_at(self, stamp_ns: int) -> RecognizedAction | None:
        """Return the action whose newest frame has a stamp."""
        return next((m for m in self.actions if stamp_of(m.header.stamp) == stamp_ns), None)

    def people_at(self, stamp_ns: int) -> tuple[Any, Any] | None:
        """Return poses and activities of the frame that has a stamp, once both have come."""
        poses = [m for m in self.poses if stamp_of(m.header.stamp) == stamp_ns]
        activities = [m for m in self.activities if stamp_of(m.header.stamp) == stamp_ns]
        return (poses[0], activities[0]) if poses and activities else None

    def gesture_at(self, stamp_ns: int) -> RecognizedGesture | None:
        """Return the gesture whose newest frame has a stamp."""
        return next((m for m in self.gestures if stamp_of(m.header.stamp) == stamp_ns), None)

    def caption_at(self, stamp_ns: int) -> SceneCaption | None:
        """Return the caption whose newest frame has a stamp."""
        return next((m for m in self.captions if stamp_of(m.header.stamp) == stamp_ns), None)

    def status(self, part: str, *, level: bytes | None = None, text: str = '') -> Any:
        """Return the newest status of a part of the node that has a level and a text."""
        for status in reversed(self.statuses):
            is_wanted = status.name.endswith(part) and text in status.message
            if is_wanted and level in (None, status.level):
                return status
        return None


class Camera:
    """Publishes images, and waits until they can be heard."""

    def __init__(self, node: Any, topic: str, spin: Callable[..., Any], kind: Any = Image) -> None:
        self._publisher = node.create_publisher(kind, topic, LONG)
        self._node, self._spin = node, spin
        assert spin(node, lambda: self._publisher.get_subscription_count() > 0)

    def send(self, message: Image | CompressedImage) -> None:
        """Publish one image and give it time to arrive."""
        self._publisher.publish(message)
        self._spin(self._node, lambda: False, 0.02)

    def film(
        self,
        frames: Sequence[np.ndarray],
        encoding: str = 'rgb8',
        *,
        start_ns: int,
        rate_hz: float = 10.0,
        padding: int = 0,
    ) -> int:
        """Publish frames with evenly spaced stamps; return the last stamp."""
        for index, rgb in enumerate(frames):
            stamp_ns = start_ns + round(index * SECOND / rate_hz)
            self.send(image_msg(rgb, encoding, stamp_ns=stamp_ns, padding=padding))
        return stamp_ns


class Control:
    """Changes a perception node's state and parameters from outside."""

    def __init__(self, node: Any, namespace: str, spin: Callable[..., Any]) -> None:
        self._node, self._spin = node, spin
        self._met: list[Any] = []
        name = f'{namespace}/perception_node'
        self._change = node.create_client(ChangeState, f'{name}/change_state')
        self._get = node.create_client(GetState, f'{name}/get_state')
        self._set = node.create_client(SetParameters, f'{name}/set_parameters')

    def _call(self, client: Any, request: Any) -> Any:
        if client not in self._met:
            assert self._spin(self._node, client.service_is_ready)
            # DDS connects the answers after the questions, and says nothing of it.
            self._spin(self._node, lambda: False, 1.0)
            self._met.append(client)
        future = client.call_async(request)
        assert self._spin(self._node, future.done), f'no answer from {client.srv_name}'
        return future.result()

    def transition(self, label: str) -> bool:
        """Trigger a transition and return whether it went well."""
        request = ChangeState.Request()
        request.transition.label = label
        return self._call(self._change, request).success

    def state(self) -> str:
        """Return the node's state."""
        return self._call(self._get, GetState.Request()).current_state.label

    def set(self, name: str, value: Any) -> tuple[bool, str]:
        """Set a parameter; return whether it was accepted, and why not."""
        message: ParameterMsg = Parameter(name, value=value).to_parameter_msg()
        answer = self._call(self._set, SetParameters.Request(parameters=[message]))
        return answer.results[0].successful, answer.results[0].reason


def insist(process: subprocess.Popen[Any], timeout_sec: float = 180.0) -> int | None:
    """Interrupt a process again and again until it ends; return its exit code."""
    end_sec = time.monotonic() + timeout_sec
    while process.poll() is None and time.monotonic() < end_sec:
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    return process.poll()


def stamp_of(stamp: Any) -> int:
    """Return a stamp in nanoseconds."""
    return stamp.sec * SECOND + stamp.nanosec


def scores_of(message: Any) -> dict[str, float]:
    """Return the score of each label."""
    return {item.label: item.score for item in message.top_k}
