"""Finds out why no image arrives: the most frequent trouble of every camera node."""

from __future__ import annotations

from difflib import get_close_matches
import time
from typing import Any

from mtl_perception.ros.image_input import ImageInput, READERS
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.ros.transport import profile_variable
from mtl_perception.runtime.clip_buffer import Admission
from mtl_perception.runtime.recognizer import Recognizer
from rclpy.node import Node
from rclpy.qos import qos_check_compatible, QoSCompatibility

PROFILE_HINT = (
    'is it paused? Large images are lost where Fast DDS has too little shared memory: start the '
    f'publisher too with {profile_variable()} naming the fastdds.xml of this package'
)
RESETS = [admission.value for admission in Admission if admission.is_reset]


class Watchdog:
    """
    Says what is wrong with the input, in one sentence.

    :param recognizer: What the images are given to.
    """

    def __init__(
        self,
        node: Node,
        image_input: ImageInput,
        recognizer: Recognizer,
        statistics: StreamStatistics,
    ) -> None:
        self._node = node
        self._input = image_input
        self._recognizer = recognizer
        self._statistics = statistics
        self._type_name = _type_name(image_input.message_type)

    def complaint(self, timeout_sec: float, min_period_sec: float = 0.0) -> str | None:
        """
        Return what is wrong, or None while usable frames arrive.

        :param timeout_sec: After so long without one something is wrong.
        :param min_period_sec: How long after a recognition the next may begin.
        """
        statistics, now_sec = self._statistics, time.monotonic()
        since_sec = now_sec - (statistics.used_sec or statistics.started_sec)
        if since_sec < timeout_sec:
            return self._why_no_clip(timeout_sec + min_period_sec)
        last_sec = statistics.received_sec
        if last_sec is not None and now_sec - last_sec < timeout_sec:
            counts, frozen = statistics.refused.as_dict(), Admission.DUPLICATE.value
            if statistics.events[frozen]:
                counts[frozen] = statistics.events[frozen]
            kinds = ', '.join(f'{n} {kind}' for kind, n in counts.items())
            return f"images arrive on '{self._input.topic}', but none can be used: {kinds}"
        silence = f"no image on '{self._input.topic}' for {since_sec:.1f} s"
        return f'{silence}: {self._why_silent()}'

    def _why_no_clip(self, timeout_sec: float) -> str | None:
        """Return why images that can be used never fill a clip, if they do not."""
        statistics, clip_sec = self._statistics, self._recognizer.clip_sec
        last_sec = statistics.clip_recognised_sec or statistics.started_sec
        since_sec = time.monotonic() - last_sec
        events = statistics.events.as_dict()
        resets = [f'{events[kind]} {kind}' for kind in RESETS if kind in events]
        is_late = since_sec > 2 * clip_sec + timeout_sec
        if not is_late or not resets or self._recognizer.span_sec >= clip_sec:
            return None
        return (
            f"images arrive on '{self._input.topic}', but for {since_sec:.1f} s none of the clips "
            f'of {clip_sec} s was filled: {", ".join(resets)}. Do two cameras publish there, or '
            'is the camera slower than max_gap_sec?'
        )

    def _why_silent(self) -> str:
        publishers = self._node.get_publishers_info_by_topic(self._input.topic)
        if not publishers:
            return f'nobody publishes there{self._alternatives()}'
        fitting = [info for info in publishers if info.topic_type == self._type_name]
        if not fitting:
            return self._describe_types({info.topic_type for info in publishers})
        for info in fitting:
            compatibility, reason = qos_check_compatible(info.qos_profile, self._input.qos)
            if compatibility == QoSCompatibility.ERROR:
                return (
                    f"the QoS of publisher '{info.node_name}' does not fit ({reason.strip()}): "
                    'change one of the two, ours with a qos_overrides parameter'
                )
        names = ', '.join(sorted({info.node_name for info in fitting}))
        return f"'{names}' publishes there, but nothing comes: {PROFILE_HINT}"

    def _describe_types(self, found: set[str]) -> str:
        types = ', '.join(sorted(found))
        for transport, (message_type, _) in READERS.items():
            if _type_name(message_type) in found:
                return f'it carries {types}: set image_transport to {transport}'
        return f'it carries {types}, wanted is {self._type_name}'

    def _alternatives(self) -> str:
        """Name the topics that do carry images, the likeliest first."""
        topics = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if self._type_name in types
            and self._node.count_publishers(name)
            # Not what this node draws itself.
            and not name.startswith(f'{self._node.get_fully_qualified_name()}/')
        ]
        if not topics:
            return ', and no topic carries images of this kind: is the camera driver running?'
        near = get_close_matches(self._input.topic, topics, n=1, cutoff=0.0)
        ordered = near + [name for name in sorted(topics) if name not in near]
        return f'. Images are on {", ".join(ordered[:5])}: remap with -r image:={ordered[0]}'


def _type_name(message_type: Any) -> str:
    package = message_type.__module__.split('.')[0]
    return f'{package}/msg/{message_type.__name__}'
