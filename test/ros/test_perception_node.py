"""The perception node in a process of its own: what it hears, says and survives."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import cv2
from image_messages import (
    EXACT,
    GREY,
    image_msg,
    random_grey,
    random_rgb,
    SECOND,
    SMOOTH,
    smooth_rgb,
)
from perception import (
    ACTIONS,
    Camera,
    CLIP_SEC,
    GESTURE_RELEVANCE,
    GESTURES,
    insist,
    MODULE,
    scores_of,
    stamp_of,
    write_checkpoint,
)
import pytest
from scene import COLOURFUL, launch_scene, NUM_FRAMES, Scene, STARTS

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

COLOURLESS = [random_grey(seed=i) for i in range(NUM_FRAMES)]
GRADIENTS = [smooth_rgb(seed=5 * i) for i in range(NUM_FRAMES)]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp('node') / 'small.safetensors')


@pytest.fixture
def launch(
    start_node: Callable[..., Any], ros_node: Any, spin: Callable[..., Any], checkpoint: Path
) -> Callable[..., Scene]:
    """Start a node for one test, which may do with it what it likes."""

    def launch_one(*arguments: str, **parameters: Any) -> Scene:
        settings = {'checkpoint': checkpoint, **parameters}
        return launch_scene(start_node, ros_node, spin, arguments, settings)

    return launch_one


@pytest.fixture(scope='module')
def shared_scene(
    start_shared_node: Callable[..., Any],
    shared_ros_node: Any,
    spin: Callable[..., Any],
    checkpoint: Path,
) -> Scene:
    settings = {'checkpoint': checkpoint}
    return launch_scene(start_shared_node, shared_ros_node, spin, (), settings)


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    """Hand out a running node, which must outlive whatever the test does to it."""
    shared_scene.ears.clear()
    yield shared_scene
    assert shared_scene.process.process.poll() is None, shared_scene.process.output


def test_results_say_where_and_when(scene: Scene) -> None:
    start_ns = next(STARTS)
    last_ns = scene.camera.film(COLOURFUL, start_ns=start_ns)
    action = scene.wait(lambda: scene.ears.action_at(last_ns))
    scene.wait(lambda: scene.ears.labels)
    gesture = scene.wait(lambda: scene.ears.gesture_at(last_ns))
    for message, labels, total in (
        (action, ACTIONS, 1.0),
        (gesture, GESTURES, GESTURE_RELEVANCE),  # the rest is "nothing"
    ):
        assert message.header.frame_id == 'camera'
        assert stamp_of(message.header.stamp) == last_ns
        assert stamp_of(message.clip_start) == start_ns + 2 * SECOND // 10
        assert message.track_id == ''
        scores = scores_of(message)
        assert set(scores) == set(labels)
        assert sum(scores.values()) == pytest.approx(total, abs=1e-5)
        assert [*scores.values()] == sorted(scores.values(), reverse=True)
        assert message.label == message.top_k[0].label
        assert message.score == message.top_k[0].score
    assert json.loads(scene.ears.labels[0]) == {'action': [*ACTIONS], 'gesture': [*GESTURES]}


def test_every_encoding_and_padding_gives_the_same_result(scene: Scene) -> None:
    colourful = scores_of(scene.watch(COLOURFUL))
    for encoding in EXACT:
        for padding in (0, 11):
            found = scores_of(scene.watch(COLOURFUL, encoding, padding=padding))
            assert found == pytest.approx(colourful, abs=1e-5), (encoding, padding)
    colourless = scores_of(scene.watch(COLOURLESS))
    for encoding in GREY:
        found = scores_of(scene.watch(COLOURLESS, encoding, padding=3))
        assert found == pytest.approx(colourless, abs=1e-5), encoding
    gradients = scores_of(scene.watch(GRADIENTS))
    for encoding in SMOOTH:
        found = scores_of(scene.watch(GRADIENTS, encoding, padding=4))
        assert found == pytest.approx(gradients, abs=0.02), encoding
    # The comparison means something: other pictures give other results.
    assert colourful != pytest.approx(colourless, abs=1e-3)
    swapped = scores_of(scene.watch([rgb[..., ::-1] for rgb in COLOURFUL]))
    assert colourful != pytest.approx(swapped, abs=1e-3)


def test_compressed_images_give_the_same_result(launch: Callable[..., Scene]) -> None:
    scene = launch(image_transport='compressed')
    raw = launch()
    expected = scores_of(raw.watch(COLOURFUL))
    camera = Camera(
        scene.node, f'{scene.namespace}/image/compressed', scene._spin, CompressedImage
    )
    scene.meet(camera, CompressedImage(format='none'))
    start_ns = next(STARTS)
    for index, rgb in enumerate(COLOURFUL):
        message = CompressedImage(header=image_msg(rgb).header, format='png')
        stamp_ns = start_ns + index * SECOND // 10
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
        message.data = array.array('B', cv2.imencode('.png', rgb[..., ::-1])[1].tobytes())
        camera.send(message)
    found = scene.wait(lambda: scene.ears.action_at(stamp_ns))
    assert scores_of(found) == pytest.approx(expected, abs=1e-5)
    message.data = message.data[:-20]
    message.header.stamp.nanosec += 1
    camera.send(message)
    scene.wait(lambda: '(truncated, 1 so far)' in scene.process.output)


def test_either_name_of_the_compressed_topic_can_be_remapped(
    launch: Callable[..., Scene],
) -> None:
    remaps = ('image:=/hall/camera', 'image/compressed:=/hall/camera/compressed')
    for scene in [launch('-r', remap, image_transport='compressed') for remap in remaps]:
        scene.wait(
            lambda scene=scene: "Listening on '/hall/camera/compressed'" in scene.process.output
        )


@pytest.mark.parametrize('rate_hz', [10, 30, 60])
def test_clips_span_the_same_time_at_every_rate(scene: Scene, rate_hz: int) -> None:
    frames = [random_rgb(seed=i) for i in range(rate_hz)]
    message = scene.watch(frames, rate_hz=rate_hz)
    span_ns = stamp_of(message.header.stamp) - stamp_of(message.clip_start)
    assert span_ns / SECOND == pytest.approx(CLIP_SEC, abs=0.5 / rate_hz + 1e-6)


def test_bad_frames_are_counted_logged_once_a_kind_and_skipped(scene: Scene) -> None:
    expected = scores_of(scene.watch(COLOURFUL))
    start_ns = next(STARTS)
    good = image_msg(COLOURFUL[0], stamp_ns=start_ns)
    bad = []
    for changes in (
        {'data': good.data[:-1]},
        {'encoding': '32FC1'},
        {'step': 3},
        {'height': 0},
    ):
        bad.append(image_msg(COLOURFUL[0], stamp_ns=start_ns))
        for name, value in changes.items():
            setattr(bad[-1], name, value)
    bad.append(image_msg(COLOURFUL[0], stamp_ns=0))
    bad.append(image_msg(COLOURFUL[0], stamp_ns=-5 * SECOND))
    for index, rgb in enumerate(COLOURFUL):
        stamp_ns = start_ns + index * SECOND // 10
        for message in bad:
            scene.camera.send(message)
        scene.camera.send(image_msg(rgb, stamp_ns=stamp_ns))
    found = scene.wait(lambda: scene.ears.action_at(stamp_ns))
    assert scores_of(found) == pytest.approx(expected, abs=1e-5)
    kinds = ['data_size', 'encoding', 'row_step', 'empty', 'unstamped', 'bad_stamp']
    for kind in kinds:
        assert scene.process.output.count(f'({kind}, 1 so far)') == 1
        assert f'({kind}, 2 so far)' not in scene.process.output

    def are_counted() -> bool:
        status = scene.ears.status('input', level=b'\x01', text='data_size')
        values = {item.key: item.value for item in status.values} if status else {}
        counts = [values.get(f'refused: {kind}') for kind in kinds]
        return counts == [str(NUM_FRAMES)] * len(kinds)

    scene.wait(are_counted)


def test_an_interruption_starts_a_new_clip(scene: Scene) -> None:
    message = scene.watch(COLOURFUL)
    last_ns = stamp_of(message.header.stamp)
    for kind, start_ns in (
        ('backward_stamp', last_ns - 3600 * SECOND),
        ('backward_stamp', last_ns - 3601 * SECOND),
        ('gap', last_ns - 3600 * SECOND + 5 * SECOND),
    ):
        scene.ears.clear()
        again = scene.watch(COLOURFUL, start_ns=start_ns)
        assert scores_of(again) == pytest.approx(scores_of(message), abs=1e-5)
        assert all(stamp_of(m.clip_start) >= start_ns for m in scene.ears.actions)
        assert f'({kind}, ' in scene.process.output


def test_another_size_starts_a_new_clip(scene: Scene) -> None:
    expected = scores_of(scene.watch([random_rgb(64, 96, seed=i) for i in range(NUM_FRAMES)]))
    first = scene.watch(COLOURFUL)
    next_ns = stamp_of(first.header.stamp) + SECOND // 10
    frames = [random_rgb(64, 96, seed=i) for i in range(NUM_FRAMES)]
    scene.ears.clear()
    found = scene.watch(frames, start_ns=next_ns)
    assert scores_of(found) == pytest.approx(expected, abs=1e-5)
    assert all(stamp_of(m.clip_start) >= next_ns for m in scene.ears.actions)


def test_two_cameras_on_one_topic_are_noticed(scene: Scene) -> None:
    assert scene.control.set('input_timeout_sec', 0.3)[0]

    def is_explained() -> Any:
        stamp_ns = next(STARTS)
        for frame_id in ('left', 'right'):
            scene.camera.send(image_msg(COLOURFUL[0], stamp_ns=stamp_ns, frame_id=frame_id))
        return scene.ears.status('input', level=b'\x02', text='Do two cameras publish there')

    assert 'new_source' in scene.wait(is_explained).message
    assert scene.control.set('input_timeout_sec', 2.0)[0]


def test_a_camera_that_stops_and_comes_back_is_noticed(launch: Callable[..., Scene]) -> None:
    scene = launch(input_timeout_sec=0.5)
    scene.watch(COLOURFUL)
    status = scene.wait(lambda: scene.ears.status('input', level=b'\x02'))
    assert f"no image on '{scene.namespace}/image'" in status.message
    assert 'publishes there, but nothing comes' in status.message
    scene.wait(lambda: 'but nothing comes' in scene.process.output)
    scene.watch(COLOURFUL)


def test_silence_is_explained(launch: Callable[..., Scene]) -> None:
    scene = launch(input_timeout_sec=0.5)
    scene.wait(lambda: scene.ears.status('input', level=b'\x02', text='nobody publishes there'))
    elsewhere = scene.node.create_publisher(Image, '/far/image', 1)
    scene.wait(lambda: scene.ears.status('input', text='/far/image'))
    scene.node.destroy_publisher(elsewhere)
    topic = f'{scene.namespace}/image'
    wrong = scene.node.create_publisher(CompressedImage, topic, 1)
    scene.wait(lambda: scene.ears.status('input', text='set image_transport to compressed'))
    scene.node.destroy_publisher(wrong)
    bad = image_msg(COLOURFUL[0], stamp_ns=0)
    camera = Camera(scene.node, topic, scene._spin)

    def is_explained() -> Any:
        camera.send(bad)
        return scene.ears.status('input', level=b'\x02', text='none can be used')

    assert 'unstamped' in scene.wait(is_explained).message


def test_a_stamp_that_never_changes_is_explained(launch: Callable[..., Scene]) -> None:
    scene = launch(input_timeout_sec=0.5)
    camera, frozen = scene.camera, image_msg(COLOURFUL[0], stamp_ns=next(STARTS))

    def is_explained() -> Any:
        camera.send(frozen)
        return scene.ears.status('input', level=b'\x02', text='none can be used')

    status = scene.wait(is_explained)
    assert 'duplicate_stamp' in status.message
    assert float({item.key: item.value for item in status.values}['input age [s]']) >= 0.5


def test_a_qos_that_does_not_fit_is_explained(launch: Callable[..., Scene]) -> None:
    topic = '/qos_test/image'
    override = f'qos_overrides.{topic}.subscription.reliability:=reliable'
    scene = launch('-r', f'image:={topic}', '-p', override)
    # Best effort, unlike what was asked for.
    quiet = PublisherEventCallbacks(use_default_callbacks=False)
    scene.node.create_publisher(Image, topic, qos_profile_sensor_data, event_callbacks=quiet)
    status = scene.wait(lambda: scene.ears.status('input', level=b'\x02', text='does not fit'))
    assert 'qos_overrides' in status.message


def test_a_walk_through_the_states(launch: Callable[..., Scene]) -> None:
    scene = launch(autostart=False)
    control = scene.control
    assert control.state() == 'unconfigured'
    for transition, state in (
        ('configure', 'inactive'),
        ('activate', 'active'),
        ('deactivate', 'inactive'),
        ('activate', 'active'),
        ('deactivate', 'inactive'),
        ('cleanup', 'unconfigured'),
        ('configure', 'inactive'),
        ('activate', 'active'),
    ):
        assert control.transition(transition), scene.process.output
        assert control.state() == state
        num_subscribers = int(state == 'active')
        scene.wait(
            lambda expected=num_subscribers: (
                scene.node.count_subscribers(f'{scene.namespace}/image') == expected
            )
        )
    scene.watch(COLOURFUL)
    assert control.transition('shutdown')
    assert control.state() == 'finalized'
    assert scene.process.process.poll() is None


def test_a_bad_checkpoint_fails_and_a_good_one_then_works(
    launch: Callable[..., Scene], tmp_path: Path, checkpoint: Path
) -> None:
    garbage = tmp_path / 'garbage.safetensors'
    garbage.write_bytes(checkpoint.read_bytes()[:1000])
    scene = launch(checkpoint=garbage)  # autostart fails, and the node lives on
    control = scene.control
    assert control.state() == 'unconfigured'
    lines = [line for line in scene.process.output.splitlines() if 'ERROR' in line]
    assert len(lines) == 1
    assert 'Cannot configure' in lines[0]
    assert 'garbage.safetensors' in lines[0]
    assert not control.transition('configure')
    assert control.set('checkpoint', str(tmp_path / 'missing'))[0]
    assert not control.transition('configure')
    assert control.set('device', 'cuda:99')[0]
    assert control.set('checkpoint', str(checkpoint))[0]
    assert not control.transition('configure')
    assert "'cuda:99' is not there" in scene.process.output
    assert control.set('device', 'cpu')[0]
    assert control.transition('configure')
    assert control.transition('activate')
    scene.watch(COLOURFUL)


def test_parameters_change_while_it_runs(scene: Scene) -> None:
    before = scene.watch(COLOURFUL)
    assert before.label
    assert scene.control.set('min_score', 1.0) == (True, '')
    assert scene.control.set('top_k', 1) == (True, '')
    after = scene.watch(COLOURFUL)
    assert after.label == ''
    assert len(after.top_k) == 1
    assert after.score == pytest.approx(before.score, abs=1e-5)
    accepted, reason = scene.control.set('checkpoint', 'other.safetensors')
    assert not accepted
    assert 'checkpoint can change while the node is unconfigured' in reason
    assert scene.control.set('min_score', 1) == (True, '')  # a whole number
    accepted, reason = scene.control.set('min_score', 1.5)
    assert not accepted
    assert scene.control.set('image_transport', 'compressed')[0] is False
    assert scene.control.set('min_score', 0.0)[0]
    assert scene.control.set('top_k', 9)[0]


def test_the_relevance_that_a_label_needs_changes_while_it_runs(scene: Scene) -> None:
    for min_relevance, shows in (
        (GESTURE_RELEVANCE + 0.01, False),
        (GESTURE_RELEVANCE - 0.01, True),
        (0.5, True),
    ):
        assert scene.control.set('min_relevance', min_relevance) == (True, '')
        action = scene.watch(COLOURFUL)
        stamp_ns = stamp_of(action.header.stamp)
        gesture = scene.wait(lambda stamp_ns=stamp_ns: scene.ears.gesture_at(stamp_ns))
        assert bool(gesture.label) == shows
        assert sum(scores_of(gesture).values()) == pytest.approx(GESTURE_RELEVANCE, abs=1e-4)
        assert action.label  # always relevant: it has no relevance head


def test_an_idle_rate_is_kept(launch: Callable[..., Scene]) -> None:
    scene = launch(max_rate_hz=2.0)
    begin_sec = time.monotonic()
    scene.watch([random_rgb(seed=i) for i in range(40)], rate_hz=20)
    # One at the beginning, and what arrived before the film began.
    assert 1 <= len(scene.ears.actions) <= 2.0 * (time.monotonic() - begin_sec) + 2

    def superseded() -> dict[str, str] | None:
        status = scene.ears.status('inference', text='recognising')
        values = {item.key: item.value for item in status.values} if status else {}
        return values if int(values.get('frames superseded before inference', 0)) >= 1 else None

    values = scene.wait(superseded)
    for key in ('infer p50 [ms]', 'publish p95 [ms]', 'callback to published p95 [ms]', 'device'):
        assert key in values


def test_another_task_has_a_topic_of_its_own(launch: Callable[..., Scene], tmp_path: Path) -> None:
    scene = launch(checkpoint=write_checkpoint(tmp_path / 'three.safetensors', extra_task=True))
    topic = f'{scene.namespace}/recognized_mood'
    found = scene.wait(lambda: scene.node.get_publishers_info_by_topic(topic))
    assert found[0].topic_type == 'mtl_perception/msg/RecognizedAction'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_it_cleanly(launch: Callable[..., Scene], number: signal.Signals) -> None:
    scene = launch()
    scene.watch(COLOURFUL)
    assert scene.process.stop(number) == 0, scene.process.output
    assert 'Traceback' not in scene.process.output


def test_more_signals_do_not_disturb_the_end(launch: Callable[..., Scene]) -> None:
    scene = launch()
    scene.watch(COLOURFUL)
    assert insist(scene.process.process) == 0, scene.process.output
    assert 'Traceback' not in scene.process.output


def test_a_killed_node_is_replaced_by_the_next(
    start_node: Callable[..., Any], launch: Callable[..., Scene], checkpoint: Path
) -> None:
    scene = launch()
    first = scores_of(scene.watch(COLOURFUL))
    assert scene.process.stop(signal.SIGKILL) == -signal.SIGKILL
    arguments = ['-r', f'__ns:={scene.namespace}', '-p', f'checkpoint:={checkpoint}']
    arguments += ['-p', 'top_k:=9', '-p', 'smoothing_sec:=0.0', '-p', 'precision:=float32']
    scene.process = start_node(MODULE, *arguments)
    scene.wait(lambda: 'Listening' in scene.process.output)
    scene.meet(scene.camera)
    assert scores_of(scene.watch(COLOURFUL)) == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize(
    ('setting', 'match'),
    [
        ('min_score:=2.0', 'min_score'),
        ('top_k:=many', 'top_k'),
        ('precision:=int4', 'precision must be one of'),
    ],
)
def test_a_parameter_that_breaks_its_rule_ends_it_with_one_line(setting: str, match: str) -> None:
    program = f'import sys; from {MODULE} import main; sys.exit(main(sys.argv))'
    done = subprocess.run(
        [sys.executable, '-c', program, '--ros-args', '-p', setting],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert match in done.stderr
    assert 'Traceback' not in done.stderr
