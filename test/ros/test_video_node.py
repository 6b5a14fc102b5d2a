"""The video node as a process, heard over DDS."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from mtl_perception.msg import RecognizedAction, RecognizedGesture
from mtl_perception.ros.image_writer import ImageWriter, JpegWriter
from mtl_perception.ros.video_parameters import parse_size, VideoParameters
from mtl_perception.runtime.video_source import VideoFile
import numpy as np
from numpy.typing import NDArray
from perception import insist
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

MODULE = 'mtl_perception.ros.video_node'
REAL = Path(__file__).parents[3] / 'shared' / 'data' / 'intel_asl_gestures' / 'learn.mkv'
RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
SIZE = (48, 64)


def write_video(path: Path, num_frames: int, rate_hz: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), rate_hz, SIZE[::-1])
    generator = np.random.default_rng(0)
    for _ in range(num_frames):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        writer.write(cv2.resize(coarse, SIZE[::-1]))
    writer.release()
    return path


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with VideoFile(path) as source:
        return [frame.pixels for frame in source]


def pixels_of(message: Image) -> NDArray[np.uint8]:
    assert message.step == 3 * message.width
    data = np.frombuffer(message.data, np.uint8)
    return data.reshape(message.height, message.width, 3)


def stamps_sec(messages: list[Any]) -> NDArray[np.float64]:
    stamps = [message.header.stamp for message in messages]
    return np.array([stamp.sec + stamp.nanosec * 1e-9 for stamp in stamps])


def start(start_node: Callable[..., Any], **parameters: object) -> Any:
    arguments = []
    for key, value in {'wait_for_subscribers': 1, 'start_delay_sec': 0.5, **parameters}.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        arguments += ['-p', f'{key}:={shown}']
    return start_node(MODULE, *arguments)


def check_period(images: list[Any], period_sec: float) -> None:
    """
    Hold the steps between stamps against the period of the source.

    On a machine that stands still for a moment the node's clock slips, once and for all.
    """
    steps = np.diff(stamps_sec(images))
    is_slip = steps > period_sec + 0.2
    np.testing.assert_allclose(steps[~is_slip], period_sec, atol=5e-3)
    assert is_slip.sum() <= 2


def listen(node: Any, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
    heard: list[Any] = []
    node.create_subscription(kind, topic, heard.append, qos)
    return heard


def wait_for_end(process: Any, node: Any, spin: Callable[..., Any]) -> int | None:
    spin(node, lambda: process.process.poll() is not None)
    spin(node, lambda: False, 0.3)
    return process.process.poll()


@pytest.mark.parametrize('qos', [RELIABLE, BEST_EFFORT], ids=['reliable', 'best effort'])
def test_every_frame_arrives_as_it_was_decoded_and_when_it_is_due(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any, qos: QoSProfile
) -> None:
    path = write_video(tmp_path / 'video.avi', 40)
    images = listen(ros_node, Image, 'image', qos)
    began_sec = time.time()
    node = start(start_node, source=path)
    assert wait_for_end(node, ros_node, spin) == 0
    assert '40 frames of' in node.output
    expected = decoded(path)
    assert len(images) == len(expected) == 40
    for message, pixels in zip(images, expected):
        assert (message.encoding, message.header.frame_id) == ('bgr8', 'camera_optical_frame')
        np.testing.assert_array_equal(pixels_of(message), pixels)
    stamps = stamps_sec(images)
    assert began_sec < stamps[0]
    assert stamps[-1] < time.time()
    check_period(images, 1 / 25)


def test_a_real_video_keeps_its_rate(start_node: Any, ros_node: Any, spin: Any) -> None:
    if not REAL.is_file():
        pytest.skip(f'{REAL.name} is not on this machine')
    images = listen(ros_node, Image, 'image')
    assert wait_for_end(start(start_node, source=REAL), ros_node, spin) == 0
    expected = decoded(REAL)
    assert len(images) == len(expected)
    np.testing.assert_array_equal(pixels_of(images[-1]), expected[-1])
    assert np.median(np.diff(stamps_sec(images))) == pytest.approx(1 / 30, abs=2e-3)


def test_a_loop_goes_on_without_a_jump_until_it_is_told_to_end(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    path = write_video(tmp_path / 'video.avi', 10)
    images = listen(ros_node, Image, 'image')
    node = start(start_node, source=path, loop=True)
    assert spin(ros_node, lambda: len(images) >= 25)
    assert node.stop(signal.SIGINT) == 0
    expected = decoded(path)
    for index, message in enumerate(images[:25]):
        np.testing.assert_array_equal(pixels_of(message), expected[index % 10])
    check_period(images[:25], 1 / 25)


def test_stamps_are_of_the_system_clock_also_in_a_simulation(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    images = listen(ros_node, Image, 'image')
    began_sec = time.time()
    path = write_video(tmp_path / 'video.avi', 5)
    assert wait_for_end(start(start_node, source=path, use_sim_time=True), ros_node, spin) == 0
    stamps = stamps_sec(images)
    assert len(stamps) == 5
    assert began_sec < stamps[0] < stamps[-1] < time.time()


def test_a_termination_ends_it_cleanly_while_it_waits(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    node = start(start_node, source=write_video(tmp_path / 'video.avi', 10))
    assert spin(ros_node, lambda: ros_node.count_publishers('image'))
    assert node.stop(signal.SIGTERM) == 0
    assert 'Traceback' not in node.output


def test_more_signals_do_not_disturb_the_end(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    images = listen(ros_node, Image, 'image')
    node = start(start_node, source=write_video(tmp_path / 'video.avi', 10), loop=True)
    assert spin(ros_node, lambda: images)
    assert insist(node.process) == 0, node.output
    assert 'Traceback' not in node.output


def test_jpegs_are_close_to_the_frames(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    path = write_video(tmp_path / 'video.avi', 5)
    images = listen(ros_node, CompressedImage, 'image/compressed')
    node = start(start_node, source=path, image_transport='compressed', jpeg_quality=95)
    assert wait_for_end(node, ros_node, spin) == 0
    assert len(images) == 5
    for message, pixels in zip(images, decoded(path)):
        assert 'jpeg' in message.format
        shown = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(shown.astype(int) - pixels).mean() < 8


def test_a_folder_is_published_at_the_rate_and_size_asked_for(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f'{index}.png'), np.full((*SIZE, 3), 40 * index, np.uint8))
    images = listen(ros_node, Image, 'image')
    node = start(start_node, source=tmp_path, rate_hz=10.0, size='24x32', frame_id='eye')
    assert wait_for_end(node, ros_node, spin) == 0
    assert [int(pixels_of(image).mean()) for image in images] == [0, 40, 80, 120, 160, 200]
    assert {(image.height, image.width) for image in images} == {(24, 32)}
    assert images[0].header.frame_id == 'eye'
    check_period(images, 0.1)


def test_rendered_scenes_come_with_one_truth_each(
    start_node: Any, ros_node: Any, spin: Any
) -> None:
    pytest.importorskip('jsonargparse')
    images = listen(ros_node, Image, 'image')
    actions = listen(ros_node, RecognizedAction, 'video_node/true_action')
    gestures = listen(ros_node, RecognizedGesture, 'video_node/true_gesture')
    node = start(start_node, source='scenes', scenes_count=2, rate_hz=10.0, size='48x64')
    assert wait_for_end(node, ros_node, spin) == 0
    truths = sorted([*actions, *gestures], key=lambda truth: stamps_sec([truth])[0])
    assert len(truths) == 2
    stamps = stamps_sec(images)
    assert stamps_sec(truths)[0] == stamps[0]
    assert stamps_sec(truths)[1] in stamps
    for truth in truths:
        assert truth.clip_start == truth.header.stamp
        assert (truth.score, truth.top_k[0].label) == (1.0, truth.label)
        assert truth.label
    assert images[0].encoding == 'rgb8'


def test_the_truth_of_every_frame_has_its_stamp(start_node: Any, ros_node: Any, spin: Any) -> None:
    pytest.importorskip('jsonargparse')
    images = listen(ros_node, Image, 'image')
    truths = listen(ros_node, String, 'video_node/truth')
    actions = listen(ros_node, RecognizedAction, 'video_node/true_action')
    gestures = listen(ros_node, RecognizedGesture, 'video_node/true_gesture')
    node = start(
        start_node, source='scenes', scenes_count=1, scenes_task='activity', rate_hz=10.0,
        size='96x128',
    )  # fmt: skip
    assert wait_for_end(node, ros_node, spin) == 0
    read = [json.loads(truth.data) for truth in truths]
    stamps = [image.header.stamp for image in images]
    assert [line['stamp_ns'] for line in read] == [s.sec * 10**9 + s.nanosec for s in stamps]
    assert not actions
    assert not gestures
    assert any(line['people'] for line in read)
    for line in read:
        count = len(line['people'])
        assert np.reshape(line['boxes'], (-1, 4)).shape == (count, 4)
        assert np.reshape(line['keypoints'], (-1, 17, 3)).shape == (count, 17, 3)
        assert len(line['activities']) == count


def test_the_end_of_the_renderer_is_reported(start_node: Any, ros_node: Any, spin: Any) -> None:
    pytest.importorskip('jsonargparse')
    images = listen(ros_node, Image, 'image')
    node = start(start_node, source='scenes', size='48x64')
    assert spin(ros_node, lambda: images)
    children = Path(f'/proc/{node.process.pid}/task/{node.process.pid}/children')
    if not children.is_file():
        pytest.skip('this kernel does not list the children of a process')
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    assert wait_for_end(node, ros_node, spin) == 1
    assert 'the renderer ended with code -9' in node.output


@pytest.mark.parametrize(
    'parameters, reason',
    [
        ({'source': 'nowhere.mp4'}, 'nowhere.mp4: no such file'),
        ({'rate_hz': -1.0}, 'rate_hz'),
    ],
    ids=str,
)
def test_a_wrong_parameter_ends_it_with_one_line(
    start_node: Any, ros_node: Any, spin: Any, parameters: dict[str, Any], reason: str
) -> None:
    node = start(start_node, **parameters)
    assert wait_for_end(node, ros_node, spin) == 1
    assert reason in node.output
    assert 'Traceback' not in node.output


def test_a_stopped_reliable_subscriber_does_not_hold_the_others_up(
    tmp_path: Path, start_node: Any, ros_node: Any, spin: Any
) -> None:
    program = """
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('stopped')
node.create_subscription(Image, 'image', lambda image: print('heard', flush=True), 10)
rclpy.spin(node)
"""
    path = write_video(tmp_path / 'video.avi', 60)
    with subprocess.Popen(
        [sys.executable, '-c', program], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as other:
        images = listen(ros_node, Image, 'image')
        node = start(start_node, source=path, wait_for_subscribers=2, loop=True)
        try:
            assert spin(ros_node, lambda: images)
            assert other.stdout is not None
            assert other.stdout.readline() == b'heard\n'
            other.send_signal(signal.SIGSTOP)
            first = len(images)
            # Four seconds of video; a publisher that waits 0.1 s for each image takes ten.
            assert spin(ros_node, lambda: len(images) >= first + 100, 8.0)
        finally:
            other.kill()
        assert node.stop() == 0


def test_an_image_message_holds_the_frame_whatever_its_strides() -> None:
    writer = ImageWriter('rgb8', 'camera')
    whole = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for pixels in (whole, whole[2:12, 5:25], whole[::-1], whole[2:12, 5:25, ::-1]):
        message = writer.write(pixels, Time(sec=3))
        assert message.header.stamp.sec == 3
        np.testing.assert_array_equal(pixels_of(message), pixels)


def test_a_jpeg_of_rgb_frames_has_the_right_colours() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    message = JpegWriter('rgb8', 'camera', 95).write(red, Time())
    shown = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(shown.mean((0, 1)), [0, 0, 255], atol=4)


def test_sizes_are_height_by_width() -> None:
    assert parse_size('480x640') == (480, 640)
    assert parse_size('') is None


@pytest.mark.parametrize('text', ['480', '480x', 'x', '4x640', '480x9000', '480X640', '-480x640'])
def test_an_impossible_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='size must be HEIGHTxWIDTH'):
        parse_size(text)


@pytest.mark.parametrize(
    'name, value',
    [
        ('jpeg_quality', 0),
        ('rate_hz', float('nan')),
        ('image_transport', 'theora'),
        ('source', ''),
    ],
)
def test_an_impossible_parameter_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f'{name} must'):
        VideoParameters(**{name: value})
