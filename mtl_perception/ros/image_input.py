"""The image subscription: from serialised messages to frames in the recognizer."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

from mtl_perception.ros.cdr import Header, ImageError
from mtl_perception.ros.images import picture_from_compressed, picture_from_image
from mtl_perception.ros.qos import image_qos
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.ros.throttle import Throttle
from mtl_perception.runtime.clip_buffer import Admission
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

TOPIC = 'image'
Reader = Callable[[bytes], tuple[Header, Picture]]
READERS: dict[str, tuple[Any, Reader]] = {
    'raw': (Image, picture_from_image),
    'compressed': (CompressedImage, picture_from_compressed),
}


class ImageInput:
    """
    Subscribes to images and gives every usable one to a recognizer.

    :param transport: ``raw`` or ``compressed``.
    :param depth: Queue of the subscription, in frames.
    :param wants_pictures: Returns whether results are to hold the picture they speak of.
    """

    def __init__(
        self,
        node: Node,
        recognizer: Recognizer,
        statistics: StreamStatistics,
        *,
        transport: str,
        depth: int,
        wants_pictures: Callable[[], bool],
    ) -> None:
        self._node = node
        self._wants_pictures = wants_pictures
        self._recognizer: Recognizer | None = recognizer
        self._statistics = statistics
        self._warn = Throttle(node.get_logger().warning)
        self.message_type, self._read = READERS[transport]
        self._subscription = self._subscribe(find_topic(node, transport), depth)
        self.topic = self._subscription.topic_name

    @property
    def qos(self) -> Any:
        """Return what the subscription asks for, after overrides."""
        return self._subscription.qos_profile

    def close(self) -> None:
        """Unsubscribe, and let go of the recognizer."""
        self._node.destroy_subscription(self._subscription)
        # An executor may hold the subscription, and with it this object, for a while.
        self._recognizer = None

    def _subscribe(self, topic: str, depth: int) -> Any:
        def subscribe(callbacks: SubscriptionEventCallbacks | None) -> Any:
            return self._node.create_subscription(
                self.message_type,
                topic,
                self._on_message,
                image_qos(depth),
                event_callbacks=callbacks,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                raw=True,
            )

        try:
            return subscribe(SubscriptionEventCallbacks(message_lost=self._on_lost))
        except UnsupportedEventTypeError:  # not every middleware reports losses
            return subscribe(None)

    def _on_lost(self, event: Any) -> None:
        self._statistics.events.add('lost_in_transport', event.total_count_change)

    def _on_message(self, message: bytes) -> None:
        recognizer = self._recognizer
        if recognizer is None:  # closed meanwhile
            return
        start_sec = time.monotonic()
        statistics = self._statistics
        statistics.received_sec = start_sec
        statistics.received.add(start_sec)
        statistics.counts.add('received')
        try:
            header, picture = self._read(message)
            admission = recognizer.add_frame(
                picture,
                header.stamp_ns(),
                frame_id=header.frame_id,
                received_sec=start_sec,
                keep_picture=self._wants_pictures(),
            )
        except ImageError as error:
            self._refuse(error.kind, str(error))
        except (RuntimeError, MemoryError) as error:  # torch: out of memory, for one
            self._refuse('failed', f'{type(error).__name__}: {error}')
        else:
            self._note(admission, header, picture)
            now_sec = time.monotonic()
            statistics.convert_ms.add(1e3 * (now_sec - start_sec))
            if admission is not Admission.DUPLICATE:
                statistics.used_sec = now_sec

    def _refuse(self, kind: str, reason: str) -> None:
        count = self._statistics.refused.add(kind)
        self._warn(kind, f"Skipped an image on '{self.topic}' ({kind}, {count} so far): {reason}")

    def _note(self, admission: Admission, header: Header, picture: Picture) -> None:
        if admission is not Admission.DUPLICATE:
            self._statistics.counts.add('used')
        if admission is Admission.STORED:
            return
        kind = admission.value
        count = self._statistics.events.add(kind)
        if admission is Admission.THINNED:  # a fast camera is no trouble
            return
        height, width = picture.size
        what = 'Skipped an image'
        if admission.is_reset:
            # People are followed across a gap.
            what = f'Started a new {"clip" if admission is Admission.GAP else "stream"}'
        self._warn(
            kind,
            f"{what} on '{self.topic}' ({kind}, {count} so far): stamp {header.sec}."
            f"{header.nanosec:09d}, frame_id '{header.frame_id[:40]}', {width}x{height}",
        )


def find_topic(node: Node, transport: str) -> str:
    """
    Return the full name of the image topic, after remappings.

    For compressed images both names may be remapped: ``image/compressed`` itself, or ``image``,
    to which ``/compressed`` is then added as image_transport does.
    """
    if transport == 'raw':
        return node.resolve_topic_name(TOPIC)
    name = f'{TOPIC}/{transport}'
    resolved = node.resolve_topic_name(name)
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return resolved
    return f'{node.resolve_topic_name(TOPIC)}/{transport}'
