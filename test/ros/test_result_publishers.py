"""What is published of one moment, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mtl_perception.ros import result_publishers
from mtl_perception.ros.result_publishers import ResultPublishers
from mtl_perception.ros.stream_statistics import StreamStatistics
import pytest


class Recorder:
    """A node and all its publishers; that of captions fails if it is told to."""

    def __init__(self, broken: str = '') -> None:
        self.published: list[str] = []
        self._broken = broken

    def create_lifecycle_publisher(self, _: Any, topic: str, __: Any) -> Any:
        def publish(message: str) -> None:
            if message == self._broken:
                raise UnicodeEncodeError('utf-8', '\ud800', 0, 1, 'surrogates not allowed')
            self.published.append(message)

        return SimpleNamespace(publish=publish, topic_name=topic)

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))


@pytest.mark.parametrize('broken', ['', 'caption'])
def test_people_do_not_wait_for_a_caption(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    for name in ('poses', 'activities', 'caption'):
        monkeypatch.setattr(result_publishers, f'{name}_msg', lambda _, said=name: said)
    engine: Any = SimpleNamespace(
        config=SimpleNamespace(trunks_of=lambda _: []),
        memory_trunks={},
        caption_settings=object(),
        activity_settings=object(),
        frame_trunk='frame',
        finds_joints=True,
    )
    node: Any = Recorder(broken)
    results: Any = SimpleNamespace(
        recognitions=[],
        anticipation=None,
        change=None,
        caption=object(),
        people=object(),
        frame=SimpleNamespace(stamp_ns=0),
    )
    publishers = ResultPublishers(node, engine)
    if broken:
        with pytest.raises(UnicodeEncodeError):
            publishers.publish(results, StreamStatistics())
        assert node.published == ['poses', 'activities']
    else:
        publishers.publish(results, StreamStatistics())
        assert node.published == ['poses', 'activities', 'caption']
