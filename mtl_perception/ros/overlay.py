"""The overlay: results drawn on the picture they speak of, for whoever looks."""

from __future__ import annotations

from textwrap import shorten
import time
from typing import Any

from mtl_perception.ros.image_writer import ImageWriter
from mtl_perception.ros.messages import time_msg
from mtl_perception.ros.qos import overlay_qos
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.drawing import draw_labels, draw_people, PersonView
from mtl_perception.runtime.results import (
    Anticipation,
    Caption,
    ObjectChange,
    PersonResult,
    Recognition,
    Results,
)
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

TOPIC = '~/overlay'
# A recognition is shown on the frames that follow it for so long.
SHOWN_SEC = 2.0
# More letters of a sentence would hide the picture.
MAX_LETTERS = 160
# Of those that are expected to follow.
SHOWN_ACTIONS = 3


class Overlay:
    """
    Publishes ``~/overlay`` while somebody subscribes to it; else it costs nothing.

    :param shows_people: Whether people are looked for: then only frames in which they were.
    """

    def __init__(self, node: LifecycleNode, *, shows_people: bool) -> None:
        self._node, self._shows_people = node, shows_people
        self._publisher: Any = node.create_lifecycle_publisher(Image, TOPIC, overlay_qos())
        self._writers = {
            is_bgr: ImageWriter('bgr8' if is_bgr else 'rgb8', '') for is_bgr in (False, True)
        }
        self.forget()

    def is_wanted(self) -> bool:
        """Return whether somebody looks."""
        return self._publisher.get_subscription_count() > 0

    def close(self) -> None:
        """Stop to publish for good."""
        self._node.destroy_lifecycle_publisher(self._publisher)

    def forget(self) -> None:
        """Show no recognition of before."""
        self._recognitions: dict[tuple[str, str], Recognition | Caption] = {}
        self._outlook: Anticipation | ObjectChange | None = None
        self._generation = 0

    def publish(self, results: Results, statistics: StreamStatistics) -> None:
        """Draw results on their picture, if it was kept, and publish it."""
        if results.frame is not None and results.frame.generation != self._generation:
            # Another camera or size, or a jump back in time.
            self.forget()
            self._generation = results.frame.generation
        self._recognitions |= {_key(said): said for said in results.of_clips}
        self._outlook = results.anticipation or results.change or self._outlook
        if results.frame is None or results.frame.picture is None:
            return
        if self._shows_people and results.people is None:
            return
        start_sec, frame, picture = time.monotonic(), results.frame, results.frame.picture
        writer = self._writers[picture.is_bgr]
        message = writer.write(picture.pixels, time_msg(frame.stamp_ns))
        message.header.frame_id = frame.frame_id
        # Into the message: a picture of its own would be one more copy.
        pixels = writer.pixels()
        people = [] if results.people is None else results.people.people
        draw_people(pixels, [_view(person) for person in people], is_bgr=picture.is_bgr)
        draw_labels(pixels, self._lines(frame.stamp_ns), is_bgr=picture.is_bgr)
        self._publisher.publish(message)
        statistics.overlay_ms.add(1e3 * (time.monotonic() - start_sec))

    def _lines(self, stamp_ns: int) -> list[str]:
        lines = [
            _line(said)
            for said in self._recognitions.values()
            if 0 <= (stamp_ns - said.stamp_ns) * 1e-9 <= SHOWN_SEC
        ]
        outlook = self._outlook
        if outlook is not None and 0 <= (stamp_ns - outlook.stamp_ns) * 1e-9 <= SHOWN_SEC:
            lines.append(_outlook_line(outlook))
        return [line for line in lines if line]


def _key(said: Recognition | Caption) -> tuple[str, str]:
    return said.task, said.group if isinstance(said, Recognition) else ''


def _outlook_line(said: Anticipation | ObjectChange) -> str:
    """Return the one line about what goes beyond the clip."""
    if isinstance(said, ObjectChange):
        return f'an object changes {said.change_score:.0%}' if said.is_change else ''
    actions = [' '.join(label for label, _ in action) for action in said.actions]
    return _legible(f'next: {", then ".join(actions[:SHOWN_ACTIONS])}')


def _line(said: Recognition | Caption) -> str:
    if isinstance(said, Recognition):
        name = f'{said.task} {said.group}'.rstrip()
        return f'{name}: {said.label} {said.score:.0%}' if said.label else ''
    return f'{_legible(said.sentence)} ({said.score:.2f})' if said.sentence else ''


def _legible(text: str) -> str:
    # OpenCV has no other letters.
    letters = text.encode('ascii', 'replace').decode()
    return shorten(letters, MAX_LETTERS, placeholder=' ...')


def _view(person: PersonResult) -> PersonView:
    return PersonView(
        person.track_id, person.box, person.keypoints, person.activity, person.activity_score
    )
