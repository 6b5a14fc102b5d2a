"""The demo's ears for people: where they are, what each does, and what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from mtl_perception.msg import HumanPoseArray, RecognizedActivityArray
from mtl_perception.network.config import FRAME_KINDS, NetworkConfig
from mtl_perception.ros.demo.people import activities_of, FramePairs, people_of, TrueFrame
from mtl_perception.ros.demo.people_scoring import PeopleScore, score_people
from mtl_perception.ros.demo.scoring import Scene
from mtl_perception.ros.qos import results_qos
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

# No frame may be missed where a label, which comes with every clip anew, may.
_TRUTH_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


def frame_tasks(config: NetworkConfig) -> dict[str, str]:
    """Return the tasks of a network that look at people in single frames, by their kinds."""
    names = {kind: config.task_of_kind(kind) for kind in FRAME_KINDS}
    return {kind: name for kind, name in names.items() if name is not None}


class PeopleMonitor:
    """
    Hears of people and pairs it with the truth.

    :param node: What subscribes.
    :param truth_topic: Of one JSON object for each frame.
    :param on_truth: Called with the truth of each frame.
    :param has_poses: Whether the network tells whose the joints are.
    :param has_activities: Whether the network has a task of activities.
    """

    def __init__(
        self,
        node: Node,
        truth_topic: str,
        on_truth: Callable[[TrueFrame], None],
        *,
        has_poses: bool,
        has_activities: bool,
    ) -> None:
        self._has_poses = has_poses
        self.frames = FramePairs(has_activities)
        self.latencies_ms: list[float] = []
        self._on_truth, self._clock = on_truth, node.get_clock()
        subscribe: Callable[..., Any] = node.create_subscription
        subscribe(String, truth_topic, self._on_true_frame, _TRUTH_QOS)
        subscribe(HumanPoseArray, 'human_poses', self._on_poses, results_qos())
        if has_activities:
            subscribe(
                RecognizedActivityArray,
                'recognized_activities',
                self._on_activities,
                results_qos(),
            )

    def score(self, scene: Scene) -> PeopleScore | None:
        """Return the score of a scene that is over; ``None`` if nothing is known of its people."""
        assert scene.end_ns is not None
        pairs = self.frames.between(scene.start_ns, scene.end_ns)
        return score_people(pairs, has_poses=self._has_poses) if pairs else None

    def _on_true_frame(self, message: String) -> None:
        truth = TrueFrame.from_json(message.data)
        self.frames.add_truth(truth)
        self._on_truth(truth)

    def _on_poses(self, message: HumanPoseArray) -> None:
        stamp_ns = to_ns(message.header.stamp)
        heard_ns = self._clock.now().nanoseconds
        self.latencies_ms.append((heard_ns - stamp_ns) * 1e-6)
        self.frames.add_poses(stamp_ns, people_of(message))

    def _on_activities(self, message: RecognizedActivityArray) -> None:
        self.frames.add_activities(to_ns(message.header.stamp), activities_of(message))


def described(activities: Iterable[str]) -> str:
    """Return activities as words, such as ``2 walking, sitting``."""
    counts = Counter(activities)
    words = [name if count == 1 else f'{count} {name}' for name, count in sorted(counts.items())]
    return ', '.join(words)


def to_ns(stamp: Any) -> int:
    """Return a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
