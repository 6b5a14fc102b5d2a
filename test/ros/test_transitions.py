"""The perception node's transitions, with the node in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import gc
from pathlib import Path
import time
from typing import Any
import weakref

from diagnostic_msgs.msg import DiagnosticStatus
from image_messages import image_msg, random_rgb, SECOND
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.ros import stream
from mtl_perception.ros.perception_node import PerceptionNode
from people_network import people_config
from perception import Camera, write_checkpoint
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
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


def status_of(node: PerceptionNode, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, str]:
    """Return what the node's next diagnostics say of it, without waiting for them."""
    heard: list[Any] = []
    monkeypatch.setattr(node._diagnostics_publisher, 'publish', heard.append)
    node._on_timer()
    return heard[0].status[-1].level, heard[0].status[-1].message


def test_a_failure_is_said_until_a_configure_goes_well(
    node: PerceptionNode, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.set_parameters([Parameter('checkpoint', value='nowhere.safetensors')])
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    for _ in range(2):
        level, message = status_of(node, monkeypatch)
        assert level == DiagnosticStatus.ERROR
        assert 'unconfigured: Cannot configure: ' in message
        assert 'nowhere.safetensors' in message
    node.set_parameters([Parameter('checkpoint', value=str(checkpoint))])
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert status_of(node, monkeypatch) == (DiagnosticStatus.OK, 'inactive')


def test_an_unforeseen_failure_is_explained_and_can_be_overcome(
    node: PerceptionNode,
    ros_node: Any,
    spin: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*args: Any, **settings: Any) -> None:
        raise KeyError('surprise')

    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(stream, 'InferenceThread', refuse)
        assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert "on_activate failed: KeyError: 'surprise'" in capfd.readouterr().err
    level, message = status_of(node, monkeypatch)
    assert level == DiagnosticStatus.ERROR
    assert 'surprise' in message
    assert spin(ros_node, lambda: ros_node.count_subscribers('/image') == 0)
    assert node.start()
    assert status_of(node, monkeypatch)[0] == DiagnosticStatus.OK


def test_a_low_rate_is_no_trouble(node: PerceptionNode) -> None:
    assert node.start()
    active = node._stream
    assert active is not None
    active.statistics.recognised_sec = time.monotonic() - 5
    said = {}
    for rate_hz in (0.0, 0.1):
        node.set_parameters([Parameter('max_rate_hz', value=rate_hz)])
        statuses = active.statuses('node', complaint=None, values={})
        said[rate_hz] = statuses[1].message
    assert 'nothing recognised for 5.' in said[0.0]
    assert said[0.1] == 'recognising'


def test_an_activation_shows_nothing_of_the_last(node: PerceptionNode) -> None:
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node._result_publishers is not None
    overlay: Any = node._result_publishers.overlay
    overlay._recognitions = {'action': None}
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert not overlay._recognitions


@pytest.mark.parametrize(
    ('missing', 'mute'),
    [
        ((), ''),
        (('association',), 'keypoints, activity'),
        (('keypoints',), 'association, activity'),
        (('keypoints', 'association'), 'activity'),
        (('detection',), 'keypoints, association, activity'),
    ],
    ids=str,
)
def test_tasks_of_which_nothing_is_ever_said_are_named(
    node: PerceptionNode,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    missing: tuple[str, ...],
    mute: str,
) -> None:
    config = people_config(clips=True)
    tasks = {name: task for name, task in config.tasks.items() if name not in missing}
    path = tmp_path / 'mute.safetensors'
    network = MultiTaskNetwork(replace(config, tasks=tasks))
    save_checkpoint(path, network, metrics={}, training={})
    node.set_parameters([Parameter('checkpoint', value=str(path))])
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    said = [line for line in capfd.readouterr().err.splitlines() if 'has no use for' in line]
    assert len(said) == bool(mute)
    assert all(f'has no use for {mute}: joints, and what' in line for line in said)
    assert node._result_publishers is not None
    topics = {topic for _, topic in node._result_publishers.topics()}
    assert ('/recognized_activities' in topics) is (not mute)
    assert ('/human_poses' in topics) is ('detection' not in missing)
