"""The overlay: which recognitions are still shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mtl_perception.ros.overlay import Overlay
from mtl_perception.ros.stream_statistics import StreamStatistics
from mtl_perception.runtime.frame_buffer import Frame
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.results import (
    Anticipation,
    Caption,
    ObjectChange,
    Recognition,
    Results,
)
import numpy as np
import pytest

SECOND = 1_000_000_000
ACTION = Recognition('action', 'walk', 0.9, [], 10 * SECOND, 9 * SECOND, 'left', 0.0, 4)
CAPTION = Caption('caption', 'a man', 0.5, [], 10 * SECOND, 9 * SECOND, 'left', 0.0, 4)


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


def lines_of(overlay: Overlay, caption: Caption | None) -> list[str]:
    overlay.publish(Results(recognitions=[ACTION], caption=caption), StreamStatistics())
    return overlay._lines(11 * SECOND)


def test_a_sentence_is_shown_with_its_score(overlay: Overlay) -> None:
    assert lines_of(overlay, CAPTION) == ['action: walk 90%', 'a man (0.50)']
    assert lines_of(overlay, None) == ['action: walk 90%', 'a man (0.50)']  # from before
    assert overlay._lines(13 * SECOND) == []


def test_no_sentence_is_not_shown(overlay: Overlay) -> None:
    assert lines_of(overlay, replace(CAPTION, sentence='')) == ['action: walk 90%']


def test_a_sentence_is_shown_in_few_letters_of_ascii(overlay: Overlay) -> None:
    long = replace(CAPTION, sentence='ein schöner Tag ' * 50)
    line = lines_of(overlay, long)[1]
    assert line.startswith('ein sch?ner Tag ein')
    assert line.endswith(' ... (0.50)')
    assert len(line) <= 160 + len(' (0.50)')


def test_one_line_tells_what_goes_beyond_the_clip(overlay: Overlay) -> None:
    actions = [[(verb, 0.5), ('öl', 0.4)] for verb in ('take', 'pour', 'heat', 'eat')]
    when = (10 * SECOND, 2 * SECOND, 'left')
    change = ObjectChange(0.75, *when)
    foreseen = Anticipation(('verb', 'noun'), actions, *when)
    overlay.publish(Results(change=change), StreamStatistics())
    assert overlay._lines(11 * SECOND) == ['an object changes 75%']
    overlay.publish(Results(anticipation=foreseen, change=change), StreamStatistics())
    assert overlay._lines(11 * SECOND) == ['next: take ?l, then pour ?l, then heat ?l']
    overlay.publish(Results(change=replace(change, change_score=0.25)), StreamStatistics())
    assert overlay._lines(11 * SECOND) == []


def test_groups_of_one_task_have_a_line_each(overlay: Overlay) -> None:
    said = [replace(ACTION, group=group) for group in ('verb', 'noun')]
    overlay.publish(Results(recognitions=said), StreamStatistics())
    assert overlay._lines(11 * SECOND) == ['action verb: walk 90%', 'action noun: walk 90%']


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
