"""What a running node tells from remembered features, heard over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
from pathlib import Path
from typing import Any

from image_messages import SECOND
from memory_network import (
    ACTIONS,
    memory_config,
    NOUNS,
    NUM_FUTURES,
    NUM_MOMENTS,
    VERBS,
    write_memory_checkpoint,
)
from mtl_perception.msg import AnticipatedActions, ObjectStateChange, RecognizedAction
from mtl_perception.ros.perception_node import PerceptionNode
from perception import LONG, scores_of, stamp_of
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from scene import COLOURFUL, launch_scene, Scene, STARTS
import torch

TICK = SECOND // 10
# A clip of half a second, then three quarters of a second of clips.
FILM = COLOURFUL * 3
TOPICS = {
    'anticipated_actions': AnticipatedActions,
    'object_state_change': ObjectStateChange,
    'recognized_step_verb': RecognizedAction,
    'recognized_step_noun': RecognizedAction,
    'recognized_deed': RecognizedAction,
}


@pytest.fixture(scope='module')
def scene(
    start_shared_node: Callable[..., Any],
    shared_ros_node: Any,
    spin: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scene:
    path = write_memory_checkpoint(tmp_path_factory.mktemp('node') / 'memory.safetensors')
    made = launch_scene(start_shared_node, shared_ros_node, spin, (), {'checkpoint': path})
    made.wait(lambda: 'Listening' in made.process.output, 180.0)
    return made


@pytest.fixture(scope='module')
def heard(scene: Scene) -> dict[str, list[Any]]:
    """Return what comes on each topic."""
    messages: dict[str, list[Any]] = {topic: [] for topic in TOPICS}
    for topic, kind in TOPICS.items():
        name = f'{scene.namespace}/{topic}'
        scene.node.create_subscription(kind, name, messages[topic].append, LONG)
    scene.wait(
        lambda: all(scene.node.count_publishers(f'{scene.namespace}/{name}') for name in TOPICS)
    )
    return messages


@pytest.fixture(scope='module')
def film(scene: Scene, heard: dict[str, list[Any]]) -> tuple[int, int, dict[str, Any]]:
    """Show a film; return its first and last stamp, and what is told with the last."""
    start_ns = next(STARTS)
    last_ns = scene.camera.film(FILM, start_ns=start_ns)

    def told() -> dict[str, Any] | None:
        found = {
            topic: message
            for topic, messages in heard.items()
            for message in messages
            if stamp_of(message.header.stamp) == last_ns
        }
        return found if len(found) == len(TOPICS) else None

    return start_ns, last_ns, scene.wait(told)


def test_everything_carries_the_stamps_of_what_it_is_judged_from(film: Any) -> None:
    start_ns, last_ns, told = film
    for message in told.values():
        assert message.header.frame_id == 'camera'
        assert stamp_of(message.header.stamp) == last_ns
        start = getattr(message, 'memory_start', None) or message.clip_start
        # Three quarters of a second, and the clip before; no frame is older.
        assert start_ns <= stamp_of(start) <= last_ns - 10 * TICK


def test_expected_actions_have_a_label_of_each_group(film: Any) -> None:
    message = film[2]['anticipated_actions']
    assert list(message.groups) == ['verb', 'noun']
    assert len(message.actions) == NUM_FUTURES
    for action in message.actions:
        verb, noun = action.labels
        assert verb.label in VERBS
        assert noun.label in NOUNS
        assert 1 / len(VERBS) <= verb.score <= 1
        assert 1 / len(NOUNS) <= noun.score <= 1


def test_a_change_has_its_moment(film: Any) -> None:
    _, last_ns, told = film
    message = told['object_state_change']
    assert message.change_known
    assert message.change
    assert 0.5 < message.change_score <= 1
    assert message.point_of_no_return_known
    assert 0 < message.point_of_no_return_score < 1
    # Steps of a quarter of a second, up to the middle of the newest clip.
    since_ns = last_ns - SECOND // 4 - stamp_of(message.point_of_no_return)
    assert since_ns in [round(step * 0.25 * SECOND) for step in range(NUM_MOMENTS)]


def test_remembered_actions_are_told_by_group(film: Any) -> None:
    told = film[2]
    for topic, labels in (
        ('recognized_step_verb', VERBS),
        ('recognized_step_noun', NOUNS),
        ('recognized_deed', ACTIONS),
    ):
        scores = scores_of(told[topic])
        assert set(scores) == set(labels)
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        assert told[topic].label == max(scores, key=scores.__getitem__)


def test_nothing_is_told_before_the_memory_is_filled(
    scene: Scene, heard: dict[str, list[Any]], film: Any
) -> None:
    start_ns = next(STARTS)
    short_ns = scene.camera.film(FILM[:10], start_ns=start_ns)
    scene.wait(lambda: scene.ears.action_at(short_ns))
    status = scene.wait(lambda: scene.ears.status('inference', text='the memory holds'))
    assert 'of 0.8 s: not all is told yet' in status.message
    values = {item.key: item.value for item in status.values}
    assert float(values['remembered [s]']) < float(values['remembered when full [s]'])
    assert 'memory branch p50 [ms]' in values
    assert not [
        message
        for messages in heard.values()
        for message in messages
        if start_ns <= stamp_of(message.header.stamp) <= short_ns
    ]
    # The same film goes on: a jump of stamps would begin anew.
    scene.camera.film(FILM[10:], start_ns=start_ns + 10 * TICK)
    scene.wait(lambda: scene.ears.status('inference', text='recognising'))
    last_ns = start_ns + (len(FILM) - 1) * TICK
    scene.wait(
        lambda: [
            message
            for message in heard['anticipated_actions']
            if stamp_of(message.header.stamp) == last_ns
        ]
    )


def test_labels_are_listed_by_group(scene: Scene) -> None:
    scene.wait(lambda: scene.ears.labels)
    labels = json.loads(scene.ears.labels[-1])
    groups = {'verb': list(VERBS), 'noun': list(NOUNS)}
    assert labels == {
        'action': list(ACTIONS),
        'step': groups,
        'deed': {'action': list(ACTIONS)},
        'forecast': groups,
    }


def test_a_robot_that_is_told_to_stop_stops(scene: Scene, film: Any) -> None:
    assert scene.process.stop() == 0, scene.process.output
    assert 'Traceback' not in scene.process.output
    assert 'forecast (3 of verb, 2 of noun)' in scene.process.output


@pytest.fixture
def make_node(ros_node: Any) -> Iterator[Callable[[Path], PerceptionNode]]:
    num_threads, nodes = torch.get_num_threads(), []

    def make(checkpoint: Path) -> PerceptionNode:
        values = {'checkpoint': str(checkpoint), 'precision': 'float32'}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(PerceptionNode(context=ros_node.context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    torch.set_num_threads(num_threads)


def topics_of(node: PerceptionNode) -> set[str]:
    assert node._result_publishers is not None
    return {topic for _, topic in node._result_publishers.topics()}


@pytest.mark.parametrize(
    ('task', 'topic'),
    [
        ('forecast', 'anticipated_actions'),
        ('change', 'object_state_change'),
        ('moment', 'object_state_change'),
        ('deed', 'recognized_deed'),
    ],
)
def test_only_what_the_checkpoint_tells_has_a_topic(
    make_node: Callable[[Path], PerceptionNode], tmp_path: Path, task: str, topic: str
) -> None:
    config = memory_config(tasks=(task,))
    node = make_node(write_memory_checkpoint(tmp_path / 'one.safetensors', config))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert topics_of(node) == {'/recognized_action', f'/{topic}'}


def test_features_from_elsewhere_are_left_out_with_one_warning(
    make_node: Callable[[Path], PerceptionNode],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = memory_config(source='')
    node = make_node(write_memory_checkpoint(tmp_path / 'elsewhere.safetensors', config))
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert topics_of(node) == {'/recognized_action'}
    error = capfd.readouterr().err
    assert error.count('network.trunks.memory.graph.source') == 1
    assert 'has no use for step, deed, forecast, change, moment' in error
