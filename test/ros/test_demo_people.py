"""How the demo pairs, scores, prints and films people, with made-up messages."""

from __future__ import annotations

from collections.abc import Callable
import io
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
from demo_people import (
    activity_message,
    joints_in,
    pose_message,
    SEC,
    truth_line,
    truth_message,
)
from mtl_perception.msg import HumanPoseArray, RecognizedAction, RecognizedActivityArray
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.pose.skeleton import OKS_SIGMAS
from mtl_perception.ros.demo.film_frame import draw, enlarged, PeopleView, PICTURE_SIZE, View
from mtl_perception.ros.demo.monitor import DemoMonitor
from mtl_perception.ros.demo.people import (
    activities_of,
    FramePairs,
    HeardFrame,
    people_of,
    TrueFrame,
)
from mtl_perception.ros.demo.people_matching import counts, match_people
from mtl_perception.ros.demo.people_monitor import described
from mtl_perception.ros.demo.people_scoring import (
    PeopleScore,
    REQUIRED,
    score_people,
    shortfalls,
    total_score,
)
from mtl_perception.ros.demo.report import problems_of, Report
from mtl_perception.ros.demo.scenes import (
    default_num_scenes,
    figures_asked,
    scene_turns,
    scenes_task,
)
from mtl_perception.ros.demo.scoring import ACTIVITY, false_alarms, HeardResult, per_class, Scene
from mtl_perception.ros.demo.show import Show
from mtl_perception.ros.demo.summary import summarise
from mtl_perception.ros.messages import time_msg
from mtl_perception.runtime.drawing import PersonView
import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

LEFT, RIGHT = (20.0, 20.0, 60.0, 140.0), (150.0, 30.0, 190.0, 130.0)
ACTIVITIES = ('walking', 'running', 'sitting', 'standing')


def true_frame(stamp_ns: int, *people: Any, **fields: Any) -> TrueFrame:
    return TrueFrame.from_json(truth_message(truth_line(stamp_ns, *people, **fields)).data)


def heard_frame(stamp_ns: int, *people: Any, missing: tuple[int, ...] = ()) -> HeardFrame:
    pairs = FramePairs(has_activities=True)
    pairs.add_poses(stamp_ns, people_of(pose_message(stamp_ns, *people, missing=missing)))
    pairs.add_activities(stamp_ns, activities_of(activity_message(stamp_ns, *people)))
    frame = pairs.heard(stamp_ns)
    assert frame is not None
    return frame


def shifted(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(value + by for value in box)


def test_a_frame_is_heard_once_poses_and_activities_have_come() -> None:
    pairs = FramePairs(has_activities=True)
    person = ('ab', LEFT, 'walking')
    pairs.add_poses(5, people_of(pose_message(5, person)))
    assert pairs.heard(5) is None
    assert not pairs.is_answered(5)
    pairs.add_activities(5, activities_of(activity_message(5, person)))
    frame = pairs.heard(5)
    assert frame is not None
    (heard,) = frame.people
    assert (heard.track_id, heard.activity) == ('ab', 'walking')
    np.testing.assert_allclose(heard.box, LEFT)
    np.testing.assert_allclose(heard.keypoints, np.array(joints_in(LEFT))[:, :2], rtol=1e-6)


def test_without_a_task_of_activities_poses_are_all_there_is() -> None:
    pairs = FramePairs(has_activities=False)
    pairs.add_poses(5, people_of(pose_message(5, ('ab', LEFT, ''))))
    frame = pairs.heard(5)
    assert frame is not None
    assert frame.people[0].activity == ''


def test_the_newest_frame_that_is_not_too_old_is_shown() -> None:
    pairs = FramePairs(has_activities=False)
    for stamp in (100, 200):
        pairs.add_poses(stamp, ())
    shown = {at: pairs.newest(at, 60) for at in (99, 100, 159, 161, 200, 260, 261)}
    found = {at: frame.stamp_ns if frame else None for at, frame in shown.items()}
    assert found == {99: None, 100: 100, 159: 100, 161: None, 200: 200, 260: 200, 261: None}
    assert pairs.is_answered(150)
    assert not pairs.is_answered(201)


def test_only_frames_of_known_truth_between_two_stamps_are_paired() -> None:
    pairs = FramePairs(has_activities=False)
    for stamp in (30, 10, 20, 40):
        pairs.add_truth(true_frame(stamp))
    for stamp in (20, 25, 30):
        pairs.add_poses(stamp, ())
    stamps = [(truth.stamp_ns, heard and heard.stamp_ns) for truth, heard in pairs.between(10, 30)]
    assert stamps == [(10, None), (20, 20), (30, 30)]


def test_what_is_old_is_forgotten() -> None:
    pairs = FramePairs(has_activities=True)
    for second in range(100):
        pairs.add_truth(true_frame(second * SEC))
        pairs.add_poses(second * SEC, ())
        pairs.add_activities(second * SEC, {})
    assert pairs.heard(99 * SEC) is not None
    assert pairs.heard(60 * SEC) is None
    assert len(pairs.truths) < 40


def iou(first: Any, second: Any) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize('seed', range(20))
def test_people_are_matched_as_a_slow_search_matches_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (4, 2))
    true = np.concatenate([corners, corners + rng.uniform(20, 50, (4, 2))], 1)
    noisy = true[rng.permutation(4)][:3] + rng.normal(0, 3, (3, 4))
    truth = true_frame(0, *[(i, tuple(box), 'walking') for i, box in enumerate(true.tolist())])
    heard = heard_frame(0, *[(f't{i}', tuple(box), '') for i, box in enumerate(noisy.tolist())])
    left = {(t, h): iou(true[t], noisy[h]) for t, h in itertools.product(range(4), range(3))}
    expected = {}
    while left and max(left.values()) >= 0.5:
        best = max(left, key=lambda pair: left[pair])
        expected[best[0]] = best[1]
        left = {p: v for p, v in left.items() if p[0] != best[0] and p[1] != best[1]}
    assert match_people(truth, heard) == expected


def test_people_outside_or_hidden_do_not_count() -> None:
    line = truth_line(0, *[(i, shifted(LEFT, 70.0 * i), 'walking') for i in range(4)])
    for joint in range(17):
        line['keypoints'][0][joint][2] = 2 if joint < 9 else 0  # just inside
        line['keypoints'][1][joint][2] = 2 if joint < 8 else 0
        line['keypoints'][2][joint][2] = 2 if joint < 5 else 1  # just seen
        line['keypoints'][3][joint][2] = 2 if joint < 4 else 1
    truth = TrueFrame.from_json(truth_message(line).data)
    assert counts(truth).tolist() == [True, False, True, False]
    people = [(f't{i}', tuple(box), 'walking') for i, box in enumerate(line['boxes'])]
    score = score_people([(truth, heard_frame(0, *people))])
    # Whoever is heard of and does not count is no mistake.
    assert (score.people, score.found, score.false) == (2, 2, 0)
    none_left = score_people([(truth, heard_frame(0, ('x', (200, 200, 240, 300), 'walking')))])
    assert (none_left.found, none_left.false) == (0, 1)


def test_the_oks_is_that_of_the_visible_joints_by_hand() -> None:
    line = truth_line(0, (0, LEFT, 'walking'))
    for joint in range(4):
        line['keypoints'][0][joint][2] = 1  # hidden: does not count, wherever it was found
    truth = TrueFrame.from_json(truth_message(line).data)
    moved = np.array(joints_in(LEFT))[:, :2] + [3, 4]
    moved[4] = np.nan
    moved[:4] += 1000
    person = PersonView('a', np.array(LEFT), moved)
    score = score_people([(truth, HeardFrame(0, (person,)))])
    area = 0.44 * 40 * 120
    alike = [np.exp(-25 / (2 * area * (2 * OKS_SIGMAS[joint]) ** 2)) for joint in range(5, 17)]
    assert score.mean_oks == pytest.approx(sum(alike) / 13, rel=1e-5)
    assert score_people([(truth, HeardFrame(0, (person,)))], has_poses=False).mean_oks is None


def test_activities_are_judged_of_the_found_once_the_scene_has_settled() -> None:
    people = [(0, LEFT, 'walking'), (1, RIGHT, 'sitting')]
    pairs: list[Any] = []
    for tick in range(21):  # 0 to 2 s
        stamp = tick * SEC // 10
        # The first second is wrong; then one of two is right, and somebody is lost at the end.
        said = [('a', LEFT, 'walking' if tick >= 10 else 'running'), ('b', RIGHT, 'standing')]
        pairs.append((true_frame(stamp, *people), heard_frame(stamp, *said[: 2 - (tick == 20)])))
    score = score_people(pairs)
    assert (score.activities, score.activities_right) == (21, 11)
    assert (score.people, score.found) == (42, 41)
    of_action = [(true_frame(t.stamp_ns, *people, action='walk'), h) for t, h in pairs]
    assert score_people(of_action).activity_accuracy is None


def test_an_id_is_switched_when_a_person_in_view_gets_another() -> None:
    ids = ['a', 'a', None, 'b', 'b', 'out', 'c', 'c']  # lost, found again as another; left, came
    pairs = []
    for tick, name in enumerate(ids):
        true = [] if name == 'out' else [(7, LEFT, 'walking')]
        found = [] if name in (None, 'out') else [(name, LEFT, 'walking')]
        pairs.append((true_frame(tick * SEC, *true), heard_frame(tick * SEC, *found)))
    score = score_people(pairs)
    assert score.switches == 1
    # Seconds from frame to frame in which the person was there: 0-4 and 6-7.
    assert score.person_sec == pytest.approx(5)
    assert score.switches_per_minute == pytest.approx(12)


def test_frames_that_the_node_left_out_are_not_judged_but_silence_is() -> None:
    frames = [true_frame(i * SEC, (0, LEFT, 'walking')) for i in range(4)]
    some = score_people(
        [(frame, heard_frame(i * SEC, ('a', LEFT, '')) if i % 2 else None)
         for i, frame in enumerate(frames)]
    )  # fmt: skip
    assert (some.frames, some.frames_heard, some.people, some.found) == (4, 2, 2, 2)
    silence = score_people([(frame, None) for frame in frames])
    assert (silence.frames_heard, silence.people, silence.found_share) == (0, 4, 0.0)


def test_scores_of_scenes_add_up() -> None:
    first = PeopleScore(frames=2, frames_judged=2, people=4, found=3, poses=3, oks_sum=2.4)
    second = PeopleScore(frames=1, frames_judged=1, people=1, found=1, poses=1, oks_sum=0.4)
    total = total_score([first, None, second])
    assert total is not None
    assert (total.found_share, total.mean_oks) == (0.8, pytest.approx(0.7))
    assert total_score([None]) is None
    assert total_score([]) is None


def test_what_is_asked_and_not_reached_is_said() -> None:
    figures = {'found_share': 0.84, 'mean_oks': 0.6, 'activity_accuracy': None}
    problems = shortfalls(figures, REQUIRED)
    assert len(problems) == 2
    assert 'share of people found, 0.84, is below 0.85' in problems[0]
    assert 'share of right activities is unknown' in problems[1]
    assert shortfalls(figures, ['mean_oks']) == []
    summary = {
        'action_accuracy': 1.0,
        'gesture_accuracy': 1.0,
        'predictions': 0,
        'people_messages': 3,
        'tasks_asked': [],
        'people_asked': list(REQUIRED),
        'people': figures,
    }
    assert problems_of(summary) == problems
    assert problems_of({**summary, 'people': None}) == ['no truth about people was heard.']
    assert problems_of({**summary, 'people_messages': 0})[0] == 'no result was heard.'


def network(*tasks: str) -> NetworkConfig:
    frame = TrunkConfig(
        backbone='resnet2d', num_frames=1, preprocessing=PreprocessingConfig(resize=(64, 96))
    )
    known = {
        'action': TaskConfig(labels=('walk', 'run', 'jump')),
        'gesture': TaskConfig(labels=('wave', 'stop')),
        'person': TaskConfig(kind='detection', trunk='frame'),
        'joints': TaskConfig(kind='keypoints', trunk='frame'),
        'whose': TaskConfig(kind='association', trunk='frame'),
        'doing': TaskConfig(kind='activity', trunk='frame', labels=ACTIVITIES),
    }
    return NetworkConfig(
        trunks={'clip': TrunkConfig(), 'frame': frame},
        tasks={name: known[name] for name in tasks},
    )


CLIPS, FRAMES = ('action', 'gesture'), ('person', 'joints', 'whose', 'doing')


@pytest.mark.parametrize(
    'tasks, task, num_scenes, asked',
    [
        (CLIPS, 'both', 10, []),
        (CLIPS + FRAMES, 'all', 18, list(REQUIRED)),
        (FRAMES, 'activity', 8, list(REQUIRED)),
        (('person', 'gesture'), 'all', 8, ['found_share']),
    ],
    ids=str,
)
def test_scenes_show_what_the_network_knows(
    tasks: tuple[str, ...], task: str, num_scenes: int, asked: list[str]
) -> None:
    config = network(*tasks)
    assert scenes_task(config) == task
    turns = scene_turns(config, None)
    assert default_num_scenes(config, turns) == num_scenes
    assert figures_asked(config, turns) == asked


def test_activities_are_not_asked_where_no_scene_shows_them() -> None:
    config = network(*CLIPS, *FRAMES)
    assert figures_asked(config, scene_turns(config, 'both')) == ['found_share', 'mean_oks']
    assert figures_asked(config, ()) == []


def activity_scene(**counted: Any) -> Scene:
    scene = Scene(3, ACTIVITY, 'sitting, walking', 0, 4 * SEC)
    scene.people = PeopleScore(frames_judged=1, **counted)
    return scene


def test_a_scene_of_activities_is_a_line_of_figures() -> None:
    stream = io.StringIO()
    good = activity_scene(
        people=10, found=9, poses=9, oks_sum=8.1, activities=10, activities_right=9
    )
    poor = activity_scene(people=10, found=8, poses=8, oks_sum=8)
    assert (good.is_hit(), poor.is_hit()) == (True, False)
    for scene in (good, poor):
        Report(stream).scene(scene)
    lines = stream.getvalue().splitlines()
    assert 'found 90.0%, OKS 0.90, activity 90.0%  ok' in lines[0]
    assert 'found 80.0%, OKS 1.00, activity -  no' in lines[1]
    assert good.as_dict()['people']['found_share'] == 0.9
    assert per_class([good, poor]) == {}


def test_who_walks_in_a_scene_of_activities_is_no_false_alarm() -> None:
    scene = activity_scene()
    for task in CLIPS:
        scene.add(HeardResult(task, SEC, 2 * SEC, 2 * SEC, 'x', {'x': 1.0}))
    assert false_alarms([scene]) == {'gesture': {'labels': 1, 'results': 1}}


def test_activities_are_described_in_words() -> None:
    assert described(['walking', 'sitting', 'walking']) == 'sitting, 2 walking'
    assert described([]) == ''


def test_people_stay_on_their_pixels_when_the_image_is_enlarged() -> None:
    person = PersonView('a', np.array([-0.5, -0.5, 1.5, 1.5]), np.array([[0.0, 0.5]]))
    (larger,) = enlarged(PeopleView((person,), (10, 20), '', (None,)), 40)
    np.testing.assert_allclose(larger.box, [-0.5, -0.5, 7.5, 7.5])
    np.testing.assert_allclose(larger.keypoints, [[1.5, 3.5]])


@pytest.mark.parametrize('size', [(240, 320), (480, 640), (960, 1280)], ids=str)
def test_the_film_shows_people_where_they_are(size: tuple[int, int]) -> None:
    scale = size[0] / 240
    box = tuple(value * scale for value in LEFT)
    heard = heard_frame(0, ('ab', box, 'walking'))
    pixels = np.full((240, 320, 3), 90, np.uint8)
    people = PeopleView(heard.people, size, 'walking', (True,))
    bare = View('scene 1', 1.0, (), 'latency 9 ms')
    with_people = View('scene 1', 1.0, (), 'latency 9 ms', people)
    changed = (draw(pixels, False, with_people) != draw(pixels, False, bare)).any(-1)
    rows, columns = np.nonzero(changed[:, : PICTURE_SIZE[1]])
    assert abs(rows.max() - 280) <= 3
    assert abs(columns.min() - 40) <= 3
    assert changed[:, PICTURE_SIZE[1] :].any()


class FakeNodes:
    """Publishes what the video node and the perception node would, on the test's own domain."""

    def __init__(self, node: Any, spin: Callable[..., Any], monitor: DemoMonitor) -> None:
        self._node, self._spin, self._monitor = node, spin, monitor
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {
            topic: node.create_publisher(kind, topic, reliable)
            for topic, kind in (
                ('image', Image),
                ('video_node/truth', String),
                ('video_node/true_action', RecognizedAction),
                ('human_poses', HumanPoseArray),
                ('recognized_activities', RecognizedActivityArray),
            )
        }
        assert spin(
            node, lambda: all(p.get_subscription_count() for p in self._publishers.values())
        )

    def label(self, stamp_ns: int, action: str) -> None:
        header = Header(stamp=time_msg(stamp_ns))
        message = RecognizedAction(header=header, clip_start=header.stamp, label=action)
        self._publishers['video_node/true_action'].publish(message)
        count = len(self._monitor.scenes)
        assert self._spin(self._node, lambda: len(self._monitor.scenes) == count + 1)

    def frame(
        self, line: dict[str, Any], said: tuple[Any, ...] | None, missing: tuple[int, ...] = ()
    ) -> None:
        """Show a frame; ``said`` are the people heard of, ``None`` for no message."""
        stamp_ns = line['stamp_ns']
        people, num_images = self._monitor.people, self._monitor.num_images
        assert people is not None
        self._publishers['video_node/truth'].publish(truth_message(line))
        assert self._spin(self._node, lambda: stamp_ns in people.frames.truths)
        image = Image(height=240, width=320, step=960, encoding='rgb8', data=bytes(240 * 960))
        image.header.stamp = time_msg(stamp_ns)
        self._publishers['image'].publish(image)
        assert self._spin(self._node, lambda: self._monitor.num_images > num_images)
        if said is not None:
            poses = pose_message(stamp_ns, *said, missing=missing)
            self._publishers['human_poses'].publish(poses)
            self._publishers['recognized_activities'].publish(activity_message(stamp_ns, *said))
            assert self._spin(self._node, lambda: people.frames.heard(stamp_ns))


def test_a_demo_hears_scores_and_films_people(tmp_path: Path, ros_node: Any, spin: Any) -> None:
    stream = io.StringIO()
    report = Report(stream)
    show = Show(report, tmp_path / 'film.mp4', 10.0, has_truth=True)
    monitor = DemoMonitor(show, network(*CLIPS, *FRAMES), context=ros_node.context)
    show.monitor = monitor
    ros_node.test_executor.add_node(monitor)
    fakes = FakeNodes(ros_node, spin, monitor)
    start = 1000 * SEC
    for tick in range(20):
        box = shifted(LEFT, tick)
        line = truth_line(start + tick * SEC // 10, (0, box, 'walking'), (1, RIGHT, 'sitting'))
        said = (('ab', box, 'walking'), ('cd', RIGHT, 'standing'))
        # Every fourth frame is not spoken of; the second person is lost in the last ones.
        fakes.frame(line, None if tick % 4 == 3 else said[: 1 + (tick < 16)])
    fakes.label(start + 2 * SEC, 'walk')
    for tick in range(20, 25):
        stamp = start + tick * SEC // 10
        line = truth_line(stamp, (0, RIGHT, 'walking'), action='walk', scene=1)
        fakes.frame(line, (('ef', RIGHT, 'walking'), ('gh', LEFT, 'walking')))
    monitor.end_of_video()
    monitor.settle(all_of_them=True)
    show.close()
    monitor.destroy_node()
    first, second = monitor.scenes
    assert (first.task, first.truth, first.num_images) == (ACTIVITY, 'sitting, walking', 20)
    assert (second.task, second.truth) == ('action', 'walk')
    assert first.people is not None
    assert second.people is not None
    counted = first.people
    assert (counted.frames, counted.frames_heard) == (20, 15)
    assert (counted.people, counted.found, counted.false) == (30, 27, 0)
    # From tick 10 on, 10, 12, 13, 14, 16, 17 and 18 were spoken of; the second till 15.
    assert (counted.activities, counted.activities_right) == (7 + 4, 7)
    assert counted.mean_oks == pytest.approx(1, abs=1e-3)
    assert (second.people.false_per_frame, second.people.activity_accuracy) == (1.0, None)
    facts = {'film': 'film.mp4', 'tasks_asked': [], 'people_asked': list(REQUIRED)}
    summary = summarise(monitor, facts)
    assert summary['people']['people'] == 35
    assert summary['people_by_scene'].keys() == {ACTIVITY, 'action'}
    assert summary['people_messages'] == 20
    assert json.loads(json.dumps(summary)) == summary
    of_action, of_activity = problems_of(summary)
    assert 'action hit rate 0%' in of_action
    assert 'right activities, 0.64' in of_activity
    report.summary(summary)
    printed = stream.getvalue()
    assert 'activity sitting, walking ' in printed
    for row in (
        'people found          91.4% of 35',
        'activities right      63.6% of 11 in scenes',
    ):
        assert row in printed
    capture = cv2.VideoCapture(str(tmp_path / 'film.mp4'))
    images = []
    while (read := capture.read())[0]:
        images.append(read[1])
    assert len(images) == 25
    # The image is black: all that is there are people, also where a message failed to come.
    assert all(image[:, : PICTURE_SIZE[1]].max() > 100 for image in images)


def test_without_tasks_of_frames_nobody_listens_for_people(ros_node: Any) -> None:
    show = Show(Report(io.StringIO()), Path('unused.mp4'), 10.0, has_truth=True)
    monitor = DemoMonitor(show, network(*CLIPS), context=ros_node.context)
    topics = {subscription.topic_name for subscription in monitor.subscriptions}
    assert monitor.people is None
    assert not {'/human_poses', '/recognized_activities', '/video_node/truth'} & topics
    assert 'people' not in summarise(monitor, {})
    show.close()
    monitor.destroy_node()
