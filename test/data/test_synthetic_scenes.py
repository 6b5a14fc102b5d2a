from mtl_training.data.synthetic import ACTIONS, ACTIVITIES, FLIP_LABELS, GESTURES, render, Scene
from mtl_training.data.synthetic.camera import Camera
from mtl_training.data.synthetic.figure import make_figure, Projection
from mtl_training.data.synthetic.outfits import Outfit
from mtl_training.data.synthetic.rendering import SceneRenderer
from mtl_training.data.synthetic.shapes import bounds, draw
from mtl_training.data.synthetic.skeleton import Body, JOINTS
import numpy as np
import pytest

SIZE = (96, 128)
TIMES = np.linspace(0.6, 2.6, 5)
LABELS = (*ACTIONS, *GESTURES)


def clip_of(seed: int, **settings):
    return render(Scene.sample(seed, **settings), TIMES, SIZE)


@pytest.mark.parametrize('label', LABELS)
def test_equal_seeds_give_equal_clips_and_others_differ(label: str) -> None:
    first, again, other = (clip_of(seed, label=label) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert first.caption == again.caption
    assert (first.frames != other.frames).mean() > 0.5


def test_a_frame_does_not_depend_on_what_is_rendered_with_it() -> None:
    scene = Scene.sample(11, task='gesture')
    together = render(scene, [1.0, 0.5, 2.0], SIZE)
    renderer = SceneRenderer(scene, SIZE)
    for i, time in enumerate((1.0, 0.5, 2.0)):
        alone = renderer.render([time])
        np.testing.assert_array_equal(alone.frames[0], together.frames[i])
        np.testing.assert_array_equal(alone.boxes[0], together.boxes[i])


@pytest.mark.parametrize('seed', range(12))
def test_truth_has_the_shapes_of_the_contract(seed: int) -> None:
    label, num_people = LABELS[seed], 1 + seed % 4
    clip = clip_of(seed, label=label, num_people=num_people)
    assert clip.frames.shape == (len(TIMES), *SIZE, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.keypoints.shape == (len(TIMES), num_people, 17, 3)
    assert clip.boxes.shape == (len(TIMES), num_people, 4)
    assert len(clip.activities) == num_people
    assert set(np.unique(clip.keypoints[..., 2])) <= {0.0, 1.0, 2.0}
    assert (clip.action, clip.gesture) == ((label, None) if label in ACTIONS else (None, label))


@pytest.mark.parametrize('seed', range(24))
def test_boxes_hold_the_keypoints_and_the_image_holds_both(seed: int) -> None:
    clip = clip_of(seed, task=('action', 'gesture')[seed % 2])
    height, width = SIZE
    x, y, visible = np.moveaxis(clip.keypoints, -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    np.testing.assert_array_equal(visible > 0, inside)
    low_x, low_y, high_x, high_y = np.moveaxis(clip.boxes, -1, 0)[..., None]
    within = (x >= low_x - 0.5) & (x <= high_x + 0.5) & (y >= low_y - 0.5) & (y <= high_y + 0.5)
    assert within[inside].all()
    assert (clip.boxes >= 0).all()
    assert (clip.boxes <= [width - 1, height - 1, width - 1, height - 1]).all()
    assert (clip.boxes[..., 2:] >= clip.boxes[..., :2]).all()


@pytest.mark.parametrize('label', LABELS)
def test_the_main_person_is_mostly_in_the_picture_and_not_tiny(label: str) -> None:
    for seed in range(6):
        scene = Scene.sample(seed, label=label)
        clip = render(scene, np.linspace(0.0, scene.duration_sec, 8), SIZE)
        seen = clip.keypoints[:, 0, :, 2] > 0
        assert seen[:, :11].mean() > 0.95  # head and arms
        assert seen.mean() > 0.8
        heights = clip.boxes[:, 0, 3] - clip.boxes[:, 0, 1]
        assert heights.max() > 0.3 * SIZE[0]


def test_the_box_encloses_exactly_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    body, outfit = Body.sample(rng), Outfit.sample(rng)
    scene = Scene.sample(3, label='stop', num_people=1)
    person = scene.people[0]
    camera = Camera(4.0, 1.2, 0.1, 1.0)
    at, depth = camera.project(person.joints(np.array([1.0])))
    seen = Projection(60 + 100 * at, depth, 100.0 / depth)
    figure = make_figure(body, outfit, seen, 9)
    from_layers = np.concatenate(
        [np.asarray(layer.polygons[0]) for part in figure.parts for layer in part.layers
         if layer.shown is None or layer.shown[0]]
    )  # fmt: skip
    box = bounds(figure.parts, 1)[0]
    np.testing.assert_allclose(box, [*from_layers.min(0), *from_layers.max(0)])
    image = np.full((200, 200, 3), 255, np.uint8)
    image[:] = (255, 0, 255)
    for part in figure.parts:
        draw(image, part, 0)
    ys, xs = np.nonzero((image != (255, 0, 255)).any(-1))
    drawn = [xs.min(), ys.min(), xs.max(), ys.max()]
    np.testing.assert_allclose(drawn, box, atol=2.0)  # anti-aliasing reaches a little further


def test_the_camera_agrees_with_its_ground_homography_and_a_pinhole() -> None:
    camera = Camera(3.0, 1.4, 0.2, 1.3, (0.05, -0.02))
    points = np.random.default_rng(0).uniform([-1, -1, 0], [1, 3, 0], (20, 3))
    at, _ = camera.project(points)
    ground = np.c_[points[:, :2], np.ones(20)] @ camera.ground_homography().T
    np.testing.assert_allclose(ground[:, :2] / ground[:, 2:], at, atol=1e-9)
    # The optical axis meets the image at its optical centre.
    axis = np.array([0.0, -3.0 + 2 * np.cos(0.2), 1.4 - 2 * np.sin(0.2)])
    np.testing.assert_allclose(camera.project(axis)[0], [0.05, -0.02], atol=1e-9)


@pytest.mark.parametrize('label', ['point_left', 'swipe_right', 'wave', 'kick'])
def test_a_mirrored_scene_is_the_flipped_label_with_left_and_right_exchanged(label: str) -> None:
    # Somebody who faces the camera points to the own left: the image's right.
    scene = Scene.sample(21, label=label, num_people=1)
    clip = render(scene, np.linspace(0.3, 3.0, 30), SIZE)
    mirrored = clip.keypoints.copy()
    mirrored[..., 0] = SIZE[1] - 1 - mirrored[..., 0]
    names = list(JOINTS[:17])
    swap = [
        names.index(name.replace('left_', '#').replace('right_', 'left_').replace('#', 'right_'))
        for name in names
    ]
    mirrored = mirrored[:, :, swap]

    def hand_reach(keypoints: np.ndarray, side: str) -> np.ndarray:
        wrist, shoulder = (names.index(f'{side}_{joint}') for joint in ('wrist', 'shoulder'))
        return keypoints[:, 0, wrist, 0] - keypoints[:, 0, shoulder, 0]

    for side, other in (('left', 'right'), ('right', 'left')):
        np.testing.assert_allclose(
            hand_reach(mirrored, side), -hand_reach(clip.keypoints, other), atol=1e-3
        )
    if label == 'point_left':
        assert hand_reach(clip.keypoints, 'left').max() > 8
        assert FLIP_LABELS[label] == 'point_right'
        assert hand_reach(mirrored, 'right').min() < -8


def test_activities_follow_the_label() -> None:
    for label, expected in (('walk', 'walking'), ('run', 'running'), ('jump', 'standing')):
        assert clip_of(1, label=label).activities[0] == expected
    scene = Scene.sample(2, label='sit_down')
    clip = render(scene, np.linspace(0, scene.duration_sec, 10), SIZE)
    assert clip.activities[0] == 'sitting'
    assert ACTIVITIES[clip.frame_activities[0, 0]] == 'standing'
    assert ACTIVITIES[clip.frame_activities[-1, 0]] == 'sitting'


def test_bystanders_only_stand_or_sit_and_are_smaller_than_the_main_person() -> None:
    kinds = set()
    for seed in range(20):
        scene = Scene.sample(seed, task='action', num_people=4)
        for person in scene.people[1:]:
            assert person.motion.executions == ()
            assert person.place[1] > scene.people[0].place[1]
        activities = render(scene, [1.0, 2.0], (32, 44)).frame_activities[:, 1:]
        kinds |= {ACTIVITIES[index] for index in np.unique(activities)}
    assert kinds == {'standing', 'sitting'}


def test_scenes_hold_one_to_four_people() -> None:
    counts = {len(Scene.sample(seed, task='gesture').people) for seed in range(60)}
    assert counts == {1, 2, 3, 4}


@pytest.mark.parametrize('label', LABELS)
def test_captions_say_what_the_main_person_does_and_wears(label: str) -> None:
    scene = Scene.sample(9, label=label, num_people=3)
    stem = label.split('_')[0].removesuffix('e').rstrip('p')
    assert stem in scene.caption.lower()
    assert scene.people[0].outfit.shirt_name in scene.caption
    assert 'two other people' in scene.caption
    assert scene.caption.endswith('.')
    for side in ('left', 'right'):
        assert (f'to the {side}' in scene.caption) == label.endswith(f'_{side}')


@pytest.mark.parametrize('label', LABELS)
def test_captions_of_the_motion_say_that_alone(label: str) -> None:
    captions = {Scene.sample(seed, label=label).motion_caption for seed in range(20)}
    assert len(captions) == 4, 'two words for who, two forms of the verb'
    for seed in range(20):
        scene = Scene.sample(seed, label=label)
        assert scene.motion_caption == Scene.sample(seed, label=label).motion_caption
        assert scene.people[0].outfit.shirt_name not in scene.motion_caption
    others = {Scene.sample(0, label=other).motion_caption for other in LABELS if other != label}
    assert not captions & others


def test_nobody_moves_in_an_empty_place() -> None:
    scene = Scene.sample(0, num_people=0)
    assert scene.motion_caption == scene.caption


def test_captions_vary() -> None:
    assert len({Scene.sample(seed, label='walk').caption for seed in range(30)}) > 15


def test_a_scene_without_a_task_has_no_label() -> None:
    clip = clip_of(4)
    assert clip.action is None
    assert clip.gesture is None


@pytest.mark.parametrize('label', LABELS)
def test_windows_lie_within_the_scene_and_show_the_motion(label: str) -> None:
    for seed in range(6):
        scene = Scene.sample(seed, label=label)
        starts = scene.window_starts(2.0)
        assert starts.min() >= 0
        assert starts.max() + 2.0 <= scene.duration_sec + 1e-9
        assert np.ptp(starts) > 0.75
        for choice in (0.0, 0.5, 1.0, np.random.default_rng(seed)):
            assert scene.is_recognizable(scene.window(choice, 2.0), 2.0)
    assert 3.5 <= scene.duration_sec <= 4.5


def test_hidden_keypoints_exist_and_far_limbs_are_among_them() -> None:
    hidden = np.zeros(17)
    for seed in range(30):
        clip = clip_of(seed, task='action')
        hidden += (clip.keypoints[:, 0, :, 2] == 1).sum(0)
    assert (hidden > 0).all()
    # From behind, the face cannot be seen.
    for seed in range(40):
        scene = Scene.sample(seed, label='bend', num_people=1)
        if abs(scene.people[0].heading) > 2.7:
            first = scene.people[0].motion.executions[1][0]
            clip = render(scene, [first], SIZE)
            assert (clip.keypoints[0, 0, :3, 2] < 2).all()
            break
    else:
        pytest.fail('no scene seen from behind')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'seed': -1}, 'seed must not be negative'),
        ({'seed': 0, 'task': 'pose'}, "task must be one of .* got 'pose'"),
        ({'seed': 0, 'label': 'dance'}, "label 'dance' is unknown"),
        ({'seed': 0, 'task': 'action', 'label': 'wave'}, "'wave' belongs to task 'gesture'"),
        ({'seed': 0, 'num_people': 5}, 'num_people must be 0 to 4, got 5'),
        (
            {'seed': 0, 'task': 'action', 'num_people': 0},
            'num_people must be 1 to 4, got 0',
        ),
    ],
)
def test_wrong_scenes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene.sample(**settings)


def test_an_empty_place_has_nobody_and_the_truth_says_so() -> None:
    scene = Scene.sample(4, num_people=0)
    clip = render(scene, TIMES, SIZE)
    assert (scene.people, clip.action, clip.gesture, clip.activities) == ((), None, None, [])
    assert clip.caption.startswith('Nobody is in')
    assert clip.frames.shape == (len(TIMES), *SIZE, 3)
    assert clip.keypoints.shape == (len(TIMES), 0, 17, 3)
    assert clip.boxes.shape == (len(TIMES), 0, 4)
    assert clip.frame_activities.shape == (len(TIMES), 0)


def test_an_empty_place_is_the_place_of_the_same_scene_with_somebody() -> None:
    scene, empty = Scene.sample(4, num_people=1), Scene.sample(4, num_people=0)
    assert (empty.camera, empty.surroundings) == (scene.camera, scene.surroundings)
    inhabited, bare = render(scene, TIMES, SIZE), render(empty, TIMES, SIZE)
    low_x, low_y, high_x, high_y = inhabited.boxes[0, 0].astype(int)
    changed = (inhabited.frames[0] != bare.frames[0]).any(-1)
    assert changed[low_y : high_y + 1, low_x : high_x + 1].mean() > 0.1
    # Beside the body and its shadow nothing differs but the noise of the camera, if that.
    corner = np.abs(inhabited.frames[0].astype(int) - bare.frames[0].astype(int))[:8, :8]
    assert corner.mean() < 8


def test_wrong_renderings_are_refused() -> None:
    scene = Scene.sample(0, task='action')
    with pytest.raises(ValueError, match='size must be at least 16 x 16, got 8 x 100'):
        render(scene, [0.0], (8, 100))
    with pytest.raises(ValueError, match='times_sec must be a non-empty list'):
        render(scene, [], SIZE)
    with pytest.raises(ValueError, match='clip_seconds must be at most'):
        scene.window(0.5, 9.0)


@pytest.mark.parametrize('size', [(64, 64), (48, 160), (160, 48), (135, 241)])
def test_any_shape_of_image_is_rendered(size: tuple[int, int]) -> None:
    clip = render(Scene.sample(8, task='gesture', num_people=1), [1.0], size)
    assert clip.frames.shape == (1, *size, 3)
    assert (clip.keypoints[0, 0, :11, 2] > 0).all()
