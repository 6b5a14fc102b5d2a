"""The overlay: which recognitions are still shown."""

from __future__ import annotations

from typing import Any

from mtl_perception.ros.overlay import Overlay
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.frame_buffer import Frame
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.results import Recognition, Results
import numpy as np
import pytest

SECOND = 1_000_000_000
ACTION = Recognition('action', 'walk', 0.9, [], 10 * SECOND, 9 * SECOND, 'left', 0.0, 4)


class FakeNode:
    """Publishes into a list."""

    def __init__(self) -> None:
        self.images: list[Any] = []

    def create_lifecycle_publisher(self, *_: Any) -> Any:
        return self

    def publish(self, image: Any) -> None:
        self.images.append(np.frombuffer(image.data, np.uint8).copy())


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def overlay(node: FakeNode) -> Overlay:
    return Overlay(node, shows_people=False)  # type: ignore[arg-type]


def show(overlay: Overlay, *said: Recognition, at_sec: float = 10.0, generation: int = 0) -> None:
    picture = Picture(np.full((48, 64, 3), 200, np.uint8))
    stamp_ns = round(at_sec * SECOND)
    frame = Frame(stamp_ns, 'left', picture.size, picture=picture, generation=generation)
    overlay.publish(Results(recognitions=list(said), frame=frame), StreamStatistics())


def are_labels_drawn(node: FakeNode) -> list[bool]:
    return [bool((image != 200).any()) for image in node.images]


def test_a_recognition_is_shown_for_a_while(node: FakeNode, overlay: Overlay) -> None:
    show(overlay)
    show(overlay, ACTION)
    show(overlay, at_sec=11.0)
    show(overlay, at_sec=13.0)
    assert are_labels_drawn(node) == [False, True, True, False]


def test_another_stream_forgets_what_was_recognised(node: FakeNode, overlay: Overlay) -> None:
    show(overlay, ACTION)
    show(overlay, at_sec=11.0, generation=1)
    show(overlay, at_sec=11.1, generation=1)
    show(overlay, ACTION, generation=2)
    assert are_labels_drawn(node) == [True, False, False, True]


def test_another_activation_forgets_what_was_recognised(node: FakeNode, overlay: Overlay) -> None:
    show(overlay, ACTION)
    overlay.forget()
    show(overlay, at_sec=11.0)
    assert are_labels_drawn(node) == [True, False]
