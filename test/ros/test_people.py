"""People, poses, activities and the overlay of a real node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import math
import os
from pathlib import Path
from typing import Any

from image_messages import image_msg, random_rgb, SECOND
import numpy as np
from people_network import ACTIVITIES, people_config, write_people_checkpoint
from perception import stamp_of, write_checkpoint
import pytest
from scene import COLOURFUL, launch_scene, Scene, STARTS
from sensor_msgs.msg import Image


@pytest.fixture(scope='module', params=[False, True], ids=['frames only', 'frames and clips'])
def shared_scene(
    request: pytest.FixtureRequest,
    start_shared_node: Callable[..., Any],
    shared_ros_node: Any,
    spin: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scene:
    path = tmp_path_factory.mktemp('people') / 'people.safetensors'
    write_people_checkpoint(path, people_config(clips=request.param))
    settings = {'checkpoint': path, 'min_person_score': 0.2, 'input_timeout_sec': 1.0}
    scene = launch_scene(start_shared_node, shared_ros_node, spin, (), settings)
    scene.has_clips = request.param  # type: ignore[attr-defined]
    return scene


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    """Hand out a running node, which must outlive whatever the test does to it."""
    shared_scene.ears.clear()
    yield shared_scene
    assert shared_scene.process.process.poll() is None, shared_scene.process.output


def test_poses_and_activities_say_where_when_and_who(scene: Scene) -> None:
    start_ns = next(STARTS)
    last_ns = scene.camera.film(COLOURFUL, start_ns=start_ns)
    poses, activities = scene.wait(lambda: scene.ears.people_at(last_ns))
    # From the first frame on, whether or not a clip is full.
    assert min(stamp_of(m.header.stamp) for m in scene.ears.poses) == start_ns
    assert poses.header.frame_id == activities.header.frame_id == 'camera'
    ids = [pose.track_id for pose in poses.poses]
    assert ids == [activity.track_id for activity in activities.activities]
    assert len(set(ids)) == len(ids) > 0
    assert all(ids)
    for pose in poses.poses:
        assert 0 <= pose.box.x_min < pose.box.x_max <= 64
        assert 0 <= pose.box.y_min < pose.box.y_max <= 48
        for x, y, score in zip(pose.x, pose.y, pose.keypoint_score):
            assert math.isnan(x) == math.isnan(y) == (score == 0)
    for activity in activities.activities:
        assert {item.label for item in activity.top_k} <= set(ACTIVITIES)
    scene.wait(lambda: scene.ears.labels)
    labels = json.loads(scene.ears.labels[-1])
    assert labels.pop('activity') == list(ACTIVITIES)
    assert list(labels) == (['action'] if scene.has_clips else [])  # type: ignore[attr-defined]


def test_nobody_is_an_empty_message_and_the_limit_is_live(scene: Scene) -> None:
    assert scene.control.set('min_person_score', 1.0)[0]
    last_ns = scene.camera.film(COLOURFUL[:2], start_ns=next(STARTS))
    poses, activities = scene.wait(lambda: scene.ears.people_at(last_ns))
    assert (len(poses.poses), len(activities.activities)) == (0, 0)
    assert scene.control.set('min_person_score', 0.2)[0]
    assert scene.control.set('min_keypoint_score', 1.0)[0]
    last_ns = scene.camera.film(COLOURFUL[:2], start_ns=next(STARTS))
    poses, _ = scene.wait(lambda: scene.ears.people_at(last_ns))
    assert poses.poses
    assert all(score in (0, 1) for pose in poses.poses for score in pose.keypoint_score)
    assert scene.control.set('min_keypoint_score', 0.2)[0]


def test_people_may_be_looked_for_less_often(scene: Scene) -> None:
    scene.wait(lambda: scene.camera)
    assert scene.control.set('frame_every', 4)[0]
    stamps = iter(range(next(STARTS), 10**19, SECOND // 10))

    def is_looked_at() -> bool:
        scene.camera.send(image_msg(COLOURFUL[0], stamp_ns=next(stamps)))
        return bool(scene.ears.poses)

    def num_superseded() -> int:
        scene.ears.statuses.clear()
        values = scene.wait(lambda: scene.ears.status('inference')).values
        return int({v.key: v.value for v in values}['frames superseded before inference'])

    scene.ears.clear()
    scene.wait(is_looked_at)
    scene._spin(scene.node, lambda: False, 1.0)
    # What never had its turn was not passed over.
    before = num_superseded()
    scene.ears.poses.clear()
    num_frames = 16
    for rgb in (random_rgb(seed=i) for i in range(num_frames)):
        scene.camera.send(image_msg(rgb, stamp_ns=next(stamps)))
        scene._spin(scene.node, lambda: False, 0.1)

    def is_every_fourth() -> bool:
        num_processed = num_frames - (num_superseded() - before)
        return num_processed >= 8 and len(scene.ears.poses) - num_processed // 4 in (0, 1)

    scene.wait(is_every_fourth)
    assert scene.control.set('frame_every', 1)[0]


def test_another_camera_starts_a_new_stream_and_has_other_people(scene: Scene) -> None:
    ids = []
    for frame_id in ('left', 'right'):
        stamp_ns = next(STARTS)
        scene.camera.send(image_msg(COLOURFUL[0], stamp_ns=stamp_ns, frame_id=frame_id))
        poses, _ = scene.wait(lambda stamp_ns=stamp_ns: scene.ears.people_at(stamp_ns))
        ids.append({pose.track_id for pose in poses.poses})
    assert ids[0].isdisjoint(ids[1])
    # The log says so of the first such change; whatever the network looks at, it is a stream.
    assert 'Started a new stream' in scene.process.output
    assert 'Started a new clip' not in scene.process.output or scene.has_clips  # type: ignore[attr-defined]


def test_the_overlay_is_drawn_while_somebody_looks(scene: Scene) -> None:
    scene.camera.film(COLOURFUL, start_ns=next(STARTS))
    images: list[Image] = []
    topic = f'{scene.namespace}/perception_node/overlay'
    looking = scene.node.create_subscription(Image, topic, images.append, 10)
    stamps = iter(range(next(STARTS), 10**19, SECOND // 10))

    def is_shown() -> bool:
        scene.camera.send(image_msg(COLOURFUL[0], 'bgr8', stamp_ns=next(stamps)))
        return bool(images)

    scene.wait(is_shown)
    image = images[-1]
    assert (image.height, image.width, image.step, image.encoding) == (48, 64, 192, 'bgr8')
    assert image.header.frame_id == 'camera'
    pixels = np.frombuffer(image.data, np.uint8).reshape(48, 64, 3)
    is_changed = (pixels != COLOURFUL[0][..., ::-1]).any(2)
    assert is_changed.any()
    stamps_heard = {stamp_of(m.header.stamp) for m in scene.ears.poses}
    assert stamp_of(image.header.stamp) in stamps_heard
    scene.node.destroy_subscription(looking)


def test_bad_frames_are_skipped_and_the_figures_are_told(scene: Scene) -> None:
    start_ns = next(STARTS)
    bad = image_msg(COLOURFUL[0], stamp_ns=start_ns)
    bad.encoding = '32FC1'
    for index, rgb in enumerate(COLOURFUL):
        scene.camera.send(bad)
        stamp_ns = start_ns + index * SECOND // 10
        scene.camera.send(image_msg(rgb, stamp_ns=stamp_ns))
    scene.wait(lambda: scene.ears.people_at(stamp_ns))

    def are_told() -> bool:
        status = scene.ears.status('inference')
        values = {item.key: item.value for item in status.values} if status else {}
        return {'people in view', 'tracks', 'frame branch p50 [ms]'} <= values.keys()

    scene.wait(are_told)
    assert 'the camera is slow' not in scene.process.output
    assert 'Inference failed' not in scene.process.output


def test_cleaning_up_and_starting_again_gives_people_again(scene: Scene) -> None:
    for label in ('deactivate', 'cleanup', 'configure', 'activate'):
        assert scene.control.transition(label), label
    stamps = iter(range(next(STARTS), 10**19, SECOND // 10))

    def are_people_back() -> bool:
        scene.camera.send(image_msg(COLOURFUL[0], stamp_ns=next(stamps)))
        return bool(scene.ears.poses)

    scene.wait(are_people_back)


def test_without_a_tracker_there_are_clips_and_a_reason_why_no_people(
    start_node: Callable[..., Any],
    ros_node: Any,
    spin: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / 'trackers.py').write_text('raise ModuleNotFoundError("No trackers here")\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=os.pathsep)
    people = write_people_checkpoint(tmp_path / 'people.safetensors', people_config())
    scene = launch_scene(start_node, ros_node, spin, (), {'checkpoint': people})
    assert scene.control.state() == 'unconfigured'
    (line,) = [line for line in scene.process.output.splitlines() if 'ERROR' in line]
    reason = 'a checkpoint that finds people needs requirements/tracking.txt installed'
    assert f'Cannot configure: {reason}: No trackers here' in line
    clips = write_checkpoint(tmp_path / 'clips.safetensors')
    assert scene.control.set('checkpoint', str(clips))[0]
    assert scene.control.transition('configure')
    assert scene.control.transition('activate')
    scene.watch(COLOURFUL)
