from dataclasses import replace
from pathlib import Path

from mtl_perception.network.pose.skeleton import FLIPPED, KEYPOINTS
from mtl_training.data.frame_sample import collate_frames, FrameSample
from mtl_training.data.synthetic import ACTIVITIES, render, Scene, SyntheticClips, SyntheticFrames
from mtl_training.data.synthetic.activity_scenes import moment_of, sample_activity_scene
from mtl_training.data.synthetic.clips import halved, scene_seed
from mtl_training.data.synthetic.frames import _covered, _hardly_seen
from mtl_training.data.synthetic.gaits import Gait
from mtl_training.data.synthetic.rendering import SceneRenderer
from mtl_training.data.synthetic.skeleton import JOINT, JOINTS
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

SIZE = (48, 64)
ACTIVITY_INDICES = range(1, 14, 2)


def frames(task: str = 'activity', **settings) -> SyntheticFrames:
    return SyntheticFrames(task, **{'num_images': 40, 'size': SIZE, **settings})


@pytest.fixture(scope='module')
def truths() -> list[FrameSample]:
    data = frames(num_images=180, images=0)
    return [data[i] for i in range(180)]


def assert_same(a: FrameSample, b: FrameSample) -> None:
    for field, x, y in zip(FrameSample._fields, a, b):
        same = torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        assert same, field


def bare(scene: Scene) -> Scene:
    """Return the scene as an ideal camera sees it, nothing in front."""
    effects = replace(
        scene.effects, noise=0.0, defocus=0.0, smear=(0.0, 0.0), jpeg_quality=None, shadow=0.0,
        flicker=0.0,
    )  # fmt: skip
    people = tuple(replace(person, seat=None) for person in scene.people)
    return replace(scene, effects=effects, people=people, occluders=())


@pytest.mark.parametrize(
    ('task', 'labels'),
    [
        ('detection', ('person',)),
        ('keypoints', KEYPOINTS),
        ('association', KEYPOINTS),
        ('activity', ACTIVITIES),
    ],
)
def test_samples_have_the_contract_of_frame_data_sets(task: str, labels: tuple) -> None:
    data = frames(task, history=3)
    assert (data.task, data.labels, len(data)) == (task, labels, 40)
    sample = data[5]
    people = len(sample.boxes)
    assert people > 0
    expected = {
        'images': (torch.uint8, (1, *SIZE, 3)),
        'boxes': (torch.float32, (people, 3, 4)),
        'keypoints': (torch.float32, (people, 3, 17, 3)),
        'areas': (torch.float32, (people, 3)),
        'activities': (torch.int64, (people,)),
        'is_crowd': (torch.bool, (people,)),
        'mask': (torch.bool, (SIZE[0] // 4, SIZE[1] // 4)),
        'transform': (torch.float32, (2, 3)),
    }
    for name, (dtype, shape) in expected.items():
        value = getattr(sample, name)
        assert (value.dtype, tuple(value.shape)) == (dtype, shape), name
    assert (sample.size, sample.image_id, sample.index) == (SIZE, 5, 5)
    assert torch.equal(sample.transform, torch.eye(2, 3))


def test_joints_are_named_as_the_networks_are() -> None:
    assert JOINTS[: len(KEYPOINTS)] == KEYPOINTS


def test_tasks_see_the_same_frames_and_other_seeds_others() -> None:
    one, other_task, other_seed = frames(), frames('detection'), frames(seed=1)
    for i in (0, 1, 4):
        assert_same(one[i], other_task[i])
        assert not torch.equal(one[i].images, other_seed[i].images)


def test_places_without_anybody_join_a_batch() -> None:
    data = frames(images=0)
    samples = [data[i] for i in range(20)]
    counts = [len(sample.boxes) for sample in samples]
    assert counts.count(0) == 1
    assert max(counts) > 1
    assert collate_frames(samples).boxes.shape == (20, max(counts), 1, 4)


@pytest.mark.parametrize('seed', range(4))
def test_truth_without_painting_is_that_of_painting(seed: int) -> None:
    scene = sample_activity_scene(seed) if seed % 2 else Scene.sample(seed, task='action')
    renderer = SceneRenderer(scene, SIZE)
    painted, told = renderer.render([0.5, 2.0]), renderer.truth([0.5, 2.0])
    assert told.frames.shape == (0, *SIZE, 3)
    for name in ('keypoints', 'boxes', 'frame_activities'):
        np.testing.assert_array_equal(getattr(painted, name), getattr(told, name))
    assert (painted.activities, painted.caption) == (told.activities, told.caption)


def test_areas_count_the_pixels_that_a_person_changes_and_the_box_holds_them() -> None:
    for seed in range(6):
        scene = bare(sample_activity_scene(seed, num_people=1))
        times, size = [moment_of(seed, scene.duration_sec)], (192, 256)
        clip = render(scene, times, size)
        empty = render(replace(scene, people=()), times, size)
        rows, columns = np.nonzero((clip.frames[0] != empty.frames[0]).any(-1))
        areas = SceneRenderer(scene, size).truth(times).areas
        assert areas is not None
        # Anti-aliased borders change pixels that hardly belong to the person.
        assert len(rows) == pytest.approx(areas[0, 0], rel=0.25)
        left, top, right, bottom = clip.boxes[0, 0]
        inside = (
            (columns >= left - 1.5)
            & (columns <= right + 1.5)
            & (rows >= top - 1.5)
            & (rows <= bottom + 1.5)
        )
        assert inside.all()


def test_who_stands_behind_another_has_less_area_than_alone() -> None:
    lost = 0
    for seed in range(12):
        scene = bare(sample_activity_scene(seed, num_people=2))
        times = [moment_of(seed, scene.duration_sec)]
        together = SceneRenderer(scene, SIZE).truth(times).areas
        alone = [
            SceneRenderer(replace(scene, people=(person,)), SIZE).truth(times).areas
            for person in scene.people
        ]
        hidden = np.concatenate([area[0] for area in alone]) - together[0]
        assert (hidden >= 0).all()
        lost += bool((hidden > 0).any())
    assert 0 < lost < 12


def test_frames_and_truth_are_those_of_a_rendering_at_their_own_size() -> None:
    data = frames(history=2)
    for i in (1, 3, 4, 9):
        sample, scene = data[i], data.scene(i)
        newest = moment_of(scene.seed, scene.duration_sec)
        direct = render(scene, [newest - 0.8, newest], SIZE)
        shown = direct.boxes[-1].any(-1)
        large = render(scene, [newest], (2 * SIZE[0], 2 * SIZE[1]))
        np.testing.assert_array_equal(sample.images[0], halved(large.frames[0]))
        ours = sample.keypoints.numpy()
        theirs = direct.keypoints[:, shown].transpose(1, 0, 2, 3)
        seen = (ours[..., 2] > 0) & (theirs[..., 2] > 0)
        assert seen.any()
        np.testing.assert_allclose(ours[seen][:, :2], theirs[seen][:, :2], atol=1e-3)
        # Round ends have fewer corners in a small image.
        np.testing.assert_allclose(
            sample.boxes.numpy(), direct.boxes[:, shown].transpose(1, 0, 2), atol=0.6
        )
        expected = direct.frame_activities[-1, shown]
        np.testing.assert_array_equal(sample.activities, expected)


def test_boxes_hold_the_joints_that_are_in_the_image() -> None:
    data = frames(images=0, history=2)
    for i in range(40):
        sample = data[i]
        x, y, visibility = sample.keypoints.unbind(-1)
        left, top, right, bottom = sample.boxes[..., None, :].unbind(-1)
        inside = (x >= left - 0.5) & (x <= right + 0.5) & (y >= top - 0.5) & (y <= bottom + 0.5)
        assert inside[visibility > 0].all()
        assert (sample.keypoints[visibility == 0] == 0).all()
        assert sample.boxes[:, -1].any(-1).all()
        box_areas = (sample.boxes[..., 2:] - sample.boxes[..., :2] + 1).prod(-1)
        assert (sample.areas <= box_areas).all()


def test_a_history_ends_at_the_newest_frame() -> None:
    alone, history = frames(), frames(history=3, images=3, history_seconds=0.5)
    newest_only = frames(history=3, history_seconds=0.5)
    for i in (1, 4, 7):
        one, many = alone[i], history[i]
        assert torch.equal(one.images[0], many.images[-1])
        assert torch.equal(newest_only[i].images, one.images)
        for name in ('boxes', 'keypoints', 'areas'):
            assert torch.equal(getattr(one, name)[:, 0], getattr(many, name)[:, -1])
        assert torch.equal(one.activities, many.activities)
        scene = history.scene(i)
        newest = moment_of(scene.seed, scene.duration_sec)
        large = render(scene, [newest - 0.25], (2 * SIZE[0], 2 * SIZE[1]))
        np.testing.assert_array_equal(many.images[1], halved(large.frames[0]))


@pytest.mark.parametrize('images', [0, 1, 3])
def test_the_cache_holds_what_is_rendered(tmp_path: Path, images: int) -> None:
    settings = {'num_images': 4, 'history': 3, 'images': images}
    cached, plain = frames(cache_dir=tmp_path, **settings), frames(**settings)
    for i in range(4):
        assert len(plain[i].images) == images
        assert_same(cached[i], plain[i])
    assert len(list(tmp_path.glob('*.npy'))) == (1 if images == 0 else 2)


def test_all_tasks_share_one_cache_and_single_frames_do_not_depend_on_the_history(
    tmp_path: Path,
) -> None:
    frames('detection', num_images=2, cache_dir=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.npy')}
    frames('keypoints', num_images=2, cache_dir=tmp_path, history_seconds=0.4)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.npy')} == files
    frames(num_images=2, history=2, cache_dir=tmp_path)
    assert len(list(tmp_path.glob('*-pixels.npy'))) == 1
    for variant in ({'seed': 1}, {'split': 'val'}, {'size': (48, 60)}, {'num_images': 3}):
        frames(**{'num_images': 2, **variant}, cache_dir=tmp_path)
    assert len(list(tmp_path.glob('*-pixels.npy'))) == 5


def test_scenes_of_splits_seeds_clips_and_streams_are_all_different() -> None:
    data = [frames(split=s, seed=seed) for s in ('train', 'val', 'test') for seed in (0, 1)]
    seeds = [one.scene(i).seed for one in data for i in range(20)]
    assert len(set(seeds)) == len(seeds)
    others = {SyntheticClips(task).scene(i).seed for task in ('action', 'gesture', 'nothing')
              for i in range(20)}  # fmt: skip
    others |= {scene_seed('stream', seed, i) for seed in (0, 1) for i in range(20)}
    assert not others & set(seeds)


def test_half_of_the_scenes_are_those_of_the_clips_and_streams() -> None:
    data = frames()
    for i in range(40):
        scene = data.scene(i)
        if i % 2:
            assert scene.task == 'activity'
        else:
            count = None if scene.people else 0
            expected = Scene.sample(scene.seed, task=scene.task, num_people=count)
            assert (expected.camera, expected.caption) == (scene.camera, scene.caption)
    tasks = [data.scene(i).task for i in range(0, 40, 2)]
    assert [tasks.count(task) for task in ('action', 'gesture', None)] == [8, 8, 4]


def test_each_activity_is_as_likely_as_the_others_and_so_are_groups() -> None:
    scenes = [sample_activity_scene(seed) for seed in range(120)]
    found = [
        int(person.motion.activities(np.array([moment_of(scene.seed, scene.duration_sec)]))[0])
        for scene in scenes
        for person in scene.people
    ]
    shares = np.bincount(found, minlength=4) / len(found)
    # Independent draws are this far off in one of 15,000 cases.
    np.testing.assert_allclose(shares, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / len(found)))
    assert {len(scene.people) for scene in scenes} == {1, 2, 3, 4}


def test_in_a_third_of_the_groups_somebody_is_before_somebody_else(
    truths: list[FrameSample],
) -> None:
    data = frames(num_images=len(truths))
    overlapping = []
    for i in range(1, len(truths), 2):
        boxes = truths[i].boxes[:, -1]
        if i < 60:  # nobody has left the picture
            assert len(boxes) == len(data.scene(i).people)
        if len(boxes) > 1:
            overlapping.append(bool((box_iou(boxes, boxes).triu(1) > 0.2).any()))
    assert 0.2 < np.mean(overlapping) < 0.47


def test_people_have_many_sizes(truths: list[FrameSample]) -> None:
    boxes = torch.cat([sample.boxes[:, -1] for sample in truths[1::2]])
    heights = (boxes[:, 3] - boxes[:, 1]) / SIZE[0]
    assert heights.quantile(0.1) < 0.4
    assert heights.quantile(0.95) > 0.75


def test_walkers_go_as_fast_as_their_steps_and_nobody_walks_into_the_camera() -> None:
    travelled = 0
    for seed in range(24):
        scene = sample_activity_scene(seed)
        times = np.linspace(0, scene.duration_sec, 12)
        for person in scene.people:
            joints = person.joints(times)
            pelvis = joints[:, JOINT['pelvis'], :2]
            speed = np.linalg.norm(pelvis[-1] - pelvis[0]) / scene.duration_sec
            gait = person.motion.track
            stays = not (isinstance(gait, Gait) and person.travels)
            expected = 0.0 if stays else gait.speed * person.body.leg
            assert speed == pytest.approx(expected, abs=0.1)
            travelled += not stays
            joints[..., :2] -= times[:, None, None] * np.array(scene.camera_velocity)
            assert scene.camera.project(joints)[1].min() > 0.5
            assert person.place[1] < scene.surroundings.wall_y
    assert travelled > 10


def test_who_is_hardly_seen_is_a_crowd() -> None:
    keypoints = np.zeros((5, 17, 3), np.float32)
    keypoints[:, :6, 2] = 2.0
    boxes = np.tile(np.array([10, 10, 20, 40], np.float32), (5, 1))
    keypoints[1, 2:, 2] = 0  # two joints in the image
    keypoints[2, :, 2] = 1  # all hidden
    boxes[3, 3] = 17.5
    keypoints[4, 3:, 2] = 0  # three joints are enough
    expected = [False, True, True, True, False]
    np.testing.assert_array_equal(_hardly_seen(boxes, keypoints), expected)


def test_masks_leave_out_the_boxes_of_crowds(truths: list[FrameSample]) -> None:
    boxes = np.array([[10, 10, 20, 40], [50, 0, 63, 9]], np.float32)
    covered = _covered(boxes, SIZE)
    for row in range(SIZE[0] // 4):
        for column in range(SIZE[1] // 4):
            x, y = 4 * column + 1.5, 4 * row + 1.5
            held = any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in boxes)
            assert covered[row, column] == held
    crowded = [sample for sample in truths if sample.is_crowd.any()]
    assert 0 < len(crowded) < len(truths) / 10
    for sample in truths:
        expected = ~_covered(sample.boxes[sample.is_crowd, -1].numpy(), SIZE)
        np.testing.assert_array_equal(sample.mask, expected)


def test_augmented_frames_follow_the_random_state_of_torch_and_keep_their_truth() -> None:
    data = frames(augment=True, rotation_deg=10.0, scale=[0.9, 1.1], flip=0.5)
    torch.manual_seed(0)
    first = [data[i] for i in ACTIVITY_INDICES]
    torch.manual_seed(0)
    for i, sample in zip(ACTIVITY_INDICES, first):
        assert_same(sample, data[i])
    plain = frames()
    mirrored = 0
    for i, sample in zip(ACTIVITY_INDICES, first):
        linear, offset = sample.transform[:, :2], sample.transform[:, 2]
        flipped = bool(torch.linalg.det(linear) < 0)
        mirrored += flipped
        before = plain[i].keypoints[:, 0, list(FLIPPED) if flipped else slice(None)]
        if len(before) != len(sample.keypoints):
            continue
        after = sample.keypoints[:, 0]
        seen = after[..., 2] > 0
        moved = before[..., :2] @ linear.T + offset
        torch.testing.assert_close(after[..., :2][seen], moved[seen], atol=1e-2, rtol=0)
    assert 0 < mirrored < len(first)


def test_augmented_truth_needs_no_pixels() -> None:
    sample = frames(augment=True, images=0)[1]
    assert sample.images.shape == (0, *SIZE, 3)
    assert not torch.equal(sample.transform, torch.eye(2, 3))


def test_a_description_names_the_scene_and_what_people_do() -> None:
    data = frames()
    assert data.describe(1) == f'scene {data.scene(1).seed}, {data.scene(1).caption}'
    activity = ACTIVITIES[data[1].activities[0]]
    assert f'somebody is {activity}' in data.scene(1).caption


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'task': 'pose'}, "task must be one of .*, got 'pose'"),
        ({'split': 'tests'}, "split must be one of .*, got 'tests'"),
        ({'num_images': 0}, 'num_images must be positive, got 0'),
        ({'size': (50, 64)}, 'size must be multiples of 4 from 8, got 50x64'),
        ({'fit': 'squeeze'}, "fit must be one of .*, got 'squeeze'"),
        ({'images': 2, 'history': 3}, r'images must be 0, 1 or history \(3\), got 2'),
        ({'history': 0}, 'history must be positive, got 0'),
        ({'history_seconds': 1.5}, r'history_seconds must be in \(0, 1.2\], got 1.5'),
        ({'scale': [1.0]}, 'scale must be two positive numbers'),
    ],
)
def test_wrong_data_sets_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frames(**settings)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [((-1,), 'seed must not be negative, got -1'), ((0, 5), 'num_people must be 1 to 4, got 5')],
)
def test_wrong_scenes_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_activity_scene(*arguments)


def test_indices_beyond_the_end_are_refused() -> None:
    with pytest.raises(IndexError, match='from 0 to 39, got 40'):
        frames()[40]
