"""The topics of the results: what a checkpoint's tasks say, and the overlay."""

from __future__ import annotations

from typing import Any

from mtl_perception.msg import (
    AnticipatedActions,
    HumanPoseArray,
    ObjectStateChange,
    RecognizedActivityArray,
    SceneCaption,
)
from mtl_perception.network.config import NetworkConfig
from mtl_perception.ros.messages import (
    activities_msg,
    ACTIVITIES_TOPIC,
    anticipation_msg,
    ANTICIPATION_TOPIC,
    caption_msg,
    CAPTION_TOPIC,
    change_msg,
    CHANGE_TOPIC,
    message_type,
    poses_msg,
    POSES_TOPIC,
    recognition_msg,
    topic_of,
)
from mtl_perception.ros.overlay import Overlay
from mtl_perception.ros.qos import results_qos
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.results import Results
from rclpy.lifecycle import LifecycleNode

CHANGE_KINDS = {'state_change', 'point_of_no_return'}


class ResultPublishers:
    """The publishers of a node for what an engine's tasks say; tasks that are not have none."""

    def __init__(self, node: LifecycleNode, engine: Engine) -> None:
        self._node = node
        config = engine.config
        self._of_labels = {
            (task, group): self._create(message_type(task), topic_of(task, group))
            for trunk in (*config.trunks_of('clip'), *engine.memory_trunks)
            for task in config.tasks_of(trunk)
            for group in _published_groups(config, task)
        }
        kinds = {
            config.tasks[t].kind for name in engine.memory_trunks for t in config.tasks_of(name)
        }
        foresees, tells_changes = 'anticipation' in kinds, bool(kinds & CHANGE_KINDS)
        self._anticipation = (
            self._create(AnticipatedActions, ANTICIPATION_TOPIC) if foresees else None
        )
        self._change = self._create(ObjectStateChange, CHANGE_TOPIC) if tells_changes else None
        tells_captions = engine.caption_settings is not None
        self._caption = self._create(SceneCaption, CAPTION_TOPIC) if tells_captions else None
        finds_people = engine.frame_trunk is not None
        self._poses = self._create(HumanPoseArray, POSES_TOPIC) if finds_people else None
        self._activities = None
        if engine.activity_settings is not None and engine.finds_joints:
            self._activities = self._create(RecognizedActivityArray, ACTIVITIES_TOPIC)
        self.overlay = Overlay(node, shows_people=finds_people)

    def topics(self) -> list[tuple[Any, str]]:
        """Return type and topic of what is published, but for the overlay."""
        return [(publisher.msg_type, publisher.topic_name) for publisher in self._all()]

    def close(self) -> None:
        """Stop to publish for good."""
        for publisher in self._all():
            self._node.destroy_lifecycle_publisher(publisher)
        self.overlay.close()

    def publish(self, results: Results, statistics: StreamStatistics) -> None:
        """Publish what was said at one moment."""
        for recognition in results.recognitions:
            publisher = self._of_labels[recognition.task, recognition.group]
            publisher.publish(recognition_msg(recognition))
        if results.anticipation is not None and self._anticipation is not None:
            self._anticipation.publish(anticipation_msg(results.anticipation))
        if results.change is not None and self._change is not None:
            self._change.publish(change_msg(results.change))
        if results.people is not None:
            if self._poses is not None:
                self._poses.publish(poses_msg(results.people))
            if self._activities is not None:
                self._activities.publish(activities_msg(results.people))
        # Last: its words come from a user's file, and where people are matters more.
        if results.caption is not None and self._caption is not None:
            self._caption.publish(caption_msg(results.caption))
        assert results.frame is not None
        now_ns = self._node.get_clock().now().nanoseconds
        statistics.stamp_ms.add((now_ns - results.frame.stamp_ns) * 1e-6)

    def _create(self, kind: Any, topic: str) -> Any:
        return self._node.create_lifecycle_publisher(kind, topic, results_qos())

    def _all(self) -> list[Any]:
        others = (
            self._anticipation,
            self._change,
            self._caption,
            self._poses,
            self._activities,
        )
        return [*self._of_labels.values(), *(p for p in others if p is not None)]


def _published_groups(config: NetworkConfig, task: str) -> list[str]:
    """Return the groups of labels that have topics of their own; '' is a task's own topic."""
    kind, groups = config.tasks[task].kind, config.tasks[task].groups
    if kind == 'recognition' and len(groups) > 1:
        return [*groups]
    return [''] if kind in ('classification', 'recognition') else []
