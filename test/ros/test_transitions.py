"""The perception node's transitions, with the node in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
import gc
from pathlib import Path
import time
from typing import Any
import weakref

from image_messages import image_msg, random_rgb, SECOND
from mtl_perception.ros.perception_node import PerceptionNode
from perception import Camera, write_checkpoint
import pytest
from rclpy.parameter import Parameter
import torch

START_NS = 1_795_000_000 * SECOND


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp('transitions') / 'small.safetensors')


@pytest.fixture
def node(ros_node: Any, checkpoint: Path) -> Iterator[PerceptionNode]:
    num_threads = torch.get_num_threads()
    made = PerceptionNode(
        context=ros_node.context,
        parameter_overrides=[
            Parameter('checkpoint', value=str(checkpoint)),
            Parameter('precision', value='float32'),
        ],
    )
    ros_node.test_executor.add_node(made)
    yield made
    made.close()
    ros_node.test_executor.remove_node(made)
    made.destroy_node()
    torch.set_num_threads(num_threads)


def test_the_clips_are_gone_when_the_memory_is_given_back(
    node: PerceptionNode, ros_node: Any, spin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.start()
    assert node._stream is not None
    statistics, recognizer = node._stream.statistics, weakref.ref(node._stream._recognizer)
    camera = Camera(ros_node, '/image', spin)
    for index in range(20):
        camera.send(image_msg(random_rgb(seed=index), stamp_ns=START_NS + index * SECOND // 10))
    assert spin(ros_node, lambda: statistics.counts['recognised'])
    assert node._engine is not None
    unload, lived_on = node._engine.unload, []

    def watched_unload() -> None:
        lived_on.append(recognizer() is not None)
        unload()

    monkeypatch.setattr(node._engine, 'unload', watched_unload)
    gc.disable()
    try:
        node.trigger_deactivate()
    finally:
        gc.enable()
    assert lived_on == [False]


def test_a_low_rate_is_no_trouble(node: PerceptionNode) -> None:
    assert node.start()
    stream = node._stream
    assert stream is not None
    stream.statistics.recognised_sec = time.monotonic() - 5
    said = {}
    for rate_hz in (0.0, 0.1):
        node.set_parameters([Parameter('max_rate_hz', value=rate_hz)])
        statuses = stream.statuses('node', complaint=None, values={})
        said[rate_hz] = statuses[1].message
    assert 'nothing recognised for 5.' in said[0.0]
    assert said[0.1] == 'recognising'
