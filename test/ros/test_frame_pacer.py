"""The reader thread of the video node, with sources that take their time."""

from __future__ import annotations

from collections.abc import Iterator
import sys
import threading
import time

from mtl_perception.ros import frame_pacer
from mtl_perception.ros.frame_pacer import FramePacer
from mtl_perception.runtime.scene_stream import SceneStream
from mtl_perception.runtime.video_source import SourceFrame, VideoSource
import numpy as np
import pytest

PIXELS = np.zeros((8, 8, 3), np.uint8)
# Says what it will write, and then never writes it.
SILENT_RENDERER = """
import json, time
print(json.dumps(dict(width=8, height=8, fps=20, encoding='rgb8', scenes=1)), flush=True)
time.sleep(600)
"""


class SlowSource(VideoSource):
    """Reads a frame that comes when the test says so."""

    def __init__(self) -> None:
        super().__init__('slow', rate_hz=30.0)
        self.is_reading, self.may_go_on = threading.Event(), threading.Event()
        self.closed_while_reading: list[bool] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        self.is_reading.set()
        self.may_go_on.wait(30.0)
        self.is_reading.clear()
        yield SourceFrame(PIXELS, 0.0)

    def close(self) -> None:
        self.closed_while_reading.append(self.is_reading.is_set())


def reading(source: SlowSource) -> FramePacer:
    pacer = FramePacer(lambda: source)
    pacer.start_reading()
    assert source.is_reading.wait(10.0)
    return pacer


def test_a_source_is_closed_only_when_its_reader_has_ended() -> None:
    source = SlowSource()
    pacer = reading(source)
    threading.Timer(0.3, source.may_go_on.set).start()
    pacer.close()
    assert source.closed_while_reading
    assert not any(source.closed_while_reading)


def test_a_reader_that_does_not_end_keeps_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_pacer, '_END_TIMEOUT_SEC', 0.2)
    source = SlowSource()
    pacer = reading(source)
    pacer.close()
    assert not source.closed_while_reading
    source.may_go_on.set()


def test_a_source_that_was_never_read_is_closed() -> None:
    source = SlowSource()
    FramePacer(lambda: source).close()
    assert source.closed_while_reading == [False]


def test_a_renderer_is_ended_while_it_is_waited_for() -> None:
    source = SceneStream([sys.executable, '-c', SILENT_RENDERER])
    pacer = FramePacer(lambda: source)
    pacer.start_reading()
    start_sec = time.monotonic()
    pacer.close()
    assert time.monotonic() - start_sec < 4
    assert not pacer._thread.is_alive()
    assert source._process.poll() is not None
