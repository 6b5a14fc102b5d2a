"""Activities of MPII, read from files that lack what files of MPII lack."""

from pathlib import Path
from typing import Any

import cv2
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_training.data.frame_sample import collate_frames, UNKNOWN
from mtl_training.data.mpii import MpiiActivities
from mtl_training.data.mpii_annotations import JOINTS, MARGIN
from mtl_training.data.photos import jpeg_size
import numpy as np
import pytest
from scipy.io import savemat
import torch
from torch.utils.data import DataLoader

SIZE = (60, 80)  # of the images, and of the network's input unless a test says otherwise
RIGHT_ANKLE, LEFT_WRIST, HEAD_TOP = 0, 15, 9
NUM_IMAGES = 40


def structs(entries: list[dict[str, Any]]) -> np.ndarray:
    """Return a Matlab array of structs; what one of them lacks is empty, as Matlab has it."""
    names = sorted({name for entry in entries for name in entry})
    array = np.empty((1, len(entries)), [(name, object) for name in names])
    for i, entry in enumerate(entries):
        for name in names:
            array[name][0, i] = entry.get(name, np.empty((0, 0)))
    return array


def point(joint: int, x: float, y: float, is_visible: Any = 1) -> dict[str, Any]:
    """Return a joint; Matlab counts pixels from 1."""
    return {'id': joint, 'x': x, 'y': y, 'is_visible': is_visible}


def person(*points: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a person with joints, a head and a rough place."""
    points = points or (point(RIGHT_ANKLE, 31, 51), point(LEFT_WRIST, 41, 31))
    return {
        'annopoints': {'point': structs(list(points))},
        'x1': 33.0,
        'y1': 11.0,
        'x2': 39.0,
        'y2': 19.0,
        'scale': 0.2,
        'objpos': {'x': 36.0, 'y': 31.0},
        **fields,
    }


def image(number: int, *people: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an image; four of them come from one video."""
    annorect = {'annorect': structs(list(people))} if people else {}
    return {
        'image': {'name': f'{number:09d}.jpg'},
        'vididx': number // 4 + 1,
        **annorect,
        **fields,
    }


NAMES = [
    ('walking, general', 'walking'),
    ('jogging', 'running'),
    ('sitting, talking in person, light effort', 'miscellaneous'),
    ('standing, packing boxes', 'occupation'),
]


def write(
    root: Path,
    images: list[dict[str, Any]] | None = None,
    names: list[tuple[str, str]] | None = None,
    is_train: list[int] | None = None,
) -> Path:
    """Write a data set in the layout of MPII, by default of ten videos of four activities."""
    if images is None:
        images = [image(i, person()) for i in range(NUM_IMAGES)]
    names = names or [NAMES[i % 4] for i in range(len(images))]
    acts = structs([{'act_name': act, 'cat_name': cat, 'act_id': 1} for act, cat in names])
    release = {
        'annolist': structs(images),
        'img_train': np.array([is_train or [1] * len(images)]),
        'act': acts.T,
    }
    folder = root / 'mpii_human_pose_v1_u12_2'
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / 'mpii_human_pose_v1_u12_1.mat', {'RELEASE': release})
    (root / 'images').mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for entry in images:
        cv2.imwrite(str(root / 'images' / entry['image']['name']), pixels)
    return root


def mpii(
    root: Path, split: str = 'train', task: str = 'activity', **settings: Any
) -> MpiiActivities:
    """Return a data set of the images' own size."""
    return MpiiActivities(task, split, root=str(root), **{'size': SIZE, **settings})


def only(root: Path, *people: dict[str, Any], **settings: Any) -> Any:
    """Return the sample of an image of these people."""
    return mpii(write(root, [image(0, *people)] * 2), task='keypoints', **settings)[0]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ten videos of four images."""
    return write(tmp_path_factory.mktemp('mpii'))


def test_an_image_gives_its_activity_to_its_person(root: Path) -> None:
    dataset = mpii(root)
    assert dataset.labels == ('walking', 'running', 'sitting', 'standing')
    for index in range(0, len(dataset), 3):
        sample = dataset[index]
        assert sample.activities.tolist() == [sample.image_id % 4]
        assert Path(dataset.describe(index)).name == f'{sample.image_id:09d}.jpg'
        assert sample.images.shape == (1, *SIZE, 3)
        assert sample.size == SIZE


def test_splits_divide_the_videos_seventy_to_fifteen_to_fifteen(root: Path) -> None:
    groups = {split: mpii(root, split).groups() for split in ('train', 'val', 'test')}
    images = {s: [i.number for i in mpii(root, s).images] for s in groups}
    assert sorted(number for numbers in images.values() for number in numbers) == list(
        range(NUM_IMAGES)
    )
    videos = [set(group) for group in groups.values()]
    assert not videos[0] & videos[1]
    assert not videos[0] & videos[2]
    assert not videos[1] & videos[2]
    assert len(groups['train']) / NUM_IMAGES == pytest.approx(0.7, abs=0.1)
    assert len(groups['val']) / NUM_IMAGES == pytest.approx(0.15, abs=0.1)


def test_a_split_is_the_same_for_every_task_and_every_choice_of_activities(root: Path) -> None:
    everything = set(mpii(root, 'val', task='keypoints').groups())
    for label in ('walking*', 'running'):
        groups = set(mpii(root, 'val', activities={'one': [label]}).groups())
        assert groups == everything


def test_joints_are_found_by_name_and_count_from_zero(tmp_path: Path) -> None:
    points = [point(joint, 30 + joint, 50 - joint) for joint in range(16)]
    keypoints = only(tmp_path, person(*points)).keypoints[0, 0]
    expected = {name: [29 + joint, 49 - joint, 2] for joint, name in enumerate(JOINTS) if name}
    assert len(expected) == 12
    for index, name in enumerate(KEYPOINTS):
        assert keypoints[index].tolist() == expected.get(name, [0, 0, 0])


@pytest.mark.parametrize(
    ('is_visible', 'visibility'),
    [('1', 2), ('0', 1), (1, 2), (0, 1), (np.empty((0, 0)), 2)],
    ids=['text 1', 'text 0', '1', '0', 'empty'],
)
def test_visibility_is_read_however_it_is_written(
    tmp_path: Path, is_visible: Any, visibility: int
) -> None:
    points = point(RIGHT_ANKLE, 31, 51, is_visible), point(LEFT_WRIST, 41, 31)
    keypoints = only(tmp_path, person(*points)).keypoints[0, 0]
    assert keypoints[KEYPOINTS.index('right_ankle')].tolist() == [30, 50, visibility]


def test_a_box_is_around_joints_and_head_with_a_margin(tmp_path: Path) -> None:
    sample = only(tmp_path, person())
    margin = MARGIN * 0.2 * 200
    expected = [30 - margin, 10 - margin, 40 + margin, 50 + margin]
    assert sample.boxes[0, 0].tolist() == pytest.approx(expected)
    assert sample.areas.item() == pytest.approx(0.5 * (10 + 2 * margin) * (40 + 2 * margin))


@pytest.mark.parametrize('field', ['x1', 'scale', 'objpos'])
def test_a_person_is_found_without(tmp_path: Path, field: str) -> None:
    fields = {field: np.empty((0, 0))}
    sample = only(tmp_path, person(**fields))
    assert sample.is_crowd.tolist() == [False]
    left, top, right, bottom = sample.boxes[0, 0].tolist()
    assert left < 30 < 40 < right
    assert top < (30 if field == 'x1' else 10) < 50 < bottom


def test_the_mask_leaves_out_the_head_whose_joints_have_no_annotation(tmp_path: Path) -> None:
    sample = only(tmp_path, person())
    rows, columns = np.mgrid[1.5:60:4, 1.5:80:4]
    head = (rows >= 9.5) & (rows < 19) & (columns >= 31.5) & (columns < 39)
    assert np.array_equal(~sample.mask.numpy(), head)


def test_somebody_without_joints_is_a_crowd_where_they_stand(tmp_path: Path) -> None:
    fields = {'annopoints': np.empty((0, 0)), 'scale': 0.1, 'objpos': {'x': 61.0, 'y': 31.0}}
    sample = only(tmp_path, person(), person(**fields), single_person=False)
    assert sample.is_crowd.tolist() == [False, True]
    assert sample.boxes[1, 0].tolist() == [55, 20, 65, 40]
    assert not sample.mask[6:9, 14:16].any()


def test_somebody_of_whom_nothing_is_known_is_nobody(tmp_path: Path) -> None:
    unknown = person(annopoints=np.empty((0, 0)), objpos=np.empty((0, 0)))
    assert len(only(tmp_path, person(), unknown).boxes) == 1


def test_images_without_annotations_are_left_out(tmp_path: Path) -> None:
    without_joints = person(annopoints=np.empty((0, 0)))
    images = [
        image(0, person()),
        image(1),
        image(2, without_joints),
        image(3, person()),
        image(4, person(), vididx=np.empty((0, 0))),
    ]
    root = write(tmp_path, images, is_train=[1, 1, 1, 0, 1])
    found = {
        sample.number: sample.video
        for split in ('train', 'val', 'test')
        for sample in _images(root, split)
    }
    # One of an unknown video is a group of its own.
    assert found == {0: 1, 4: -5}


def _images(root: Path, split: str) -> list[Any]:
    try:
        return mpii(root, split, task='keypoints').images
    except ValueError:
        return []


def test_several_people_share_an_activity_if_they_are_wanted(tmp_path: Path) -> None:
    wrist = point(LEFT_WRIST, 61, 21)
    images = [image(i, person(), person(wrist)) if i % 2 else image(i, person()) for i in range(8)]
    root = write(tmp_path, images, [NAMES[2]] * 8)
    single = mpii(root)
    assert {len(single[i].boxes) for i in range(len(single))} == {1}
    several = mpii(root, single_person=False)
    assert len(several) > len(single)
    assert sorted(several[1].activities.tolist()) == [2, 2]


def test_images_of_no_label_or_of_two_are_for_joints_alone(tmp_path: Path) -> None:
    names = [('curling', 'sports'), ('standing, slow', 'walking'), ('Running', 'Running')]
    root = write(tmp_path, [image(i, person(), vididx=1) for i in range(3)], names)
    split = next(s for s in ('train', 'val', 'test') if _images(root, s))
    assert [i.number for i in mpii(root, split).images] == [2]
    joints = mpii(root, split, task='keypoints')
    assert joints.labels == KEYPOINTS
    assert [joints[i].activities.item() for i in range(3)] == [UNKNOWN, UNKNOWN, 1]
    mine = mpii(root, split, activities={'sweeping': ['c?rling'], 'other': ['run*', 'walk*']})
    assert mine.labels == ('sweeping', 'other')
    assert [mine[i].activities.item() for i in range(3)] == [0, 1, 1]


def test_labels_without_an_image_are_named(tmp_path: Path, caplog: Any) -> None:
    root = write(tmp_path, names=[NAMES[0]] * NUM_IMAGES)
    mpii(root)
    assert "no image of ['running', 'sitting', 'standing']" in caplog.text


def test_missing_files_are_left_out_with_one_warning(tmp_path: Path, caplog: Any) -> None:
    root = write(tmp_path)
    before = mpii(root)
    for index in (0, 2):
        Path(before.describe(index)).unlink()
    after = mpii(root)
    assert [i.number for i in after.images] == [
        image.number for k, image in enumerate(before.images) if k not in (0, 2)
    ]
    assert len([r for r in caplog.records if 'Left out: 2 of' in r.message]) == 1


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    'settings', [{'images': 0}, {'augment': True}], ids=['truth', 'augmented']
)
def test_a_loader_makes_batches(root: Path, settings: dict[str, Any], workers: int) -> None:
    dataset = mpii(root, size=(48, 48), **settings)
    loader = DataLoader(dataset, batch_size=4, collate_fn=collate_frames, num_workers=workers)
    batch = next(iter(loader))
    assert batch.images.shape == (4, settings.get('images', 1), 48, 48, 3)
    assert batch.masks.shape == (4, 12, 12)
    assert batch.image_ids.tolist() == [image.number for image in dataset.images[:4]]


def test_truth_alone_is_that_of_the_images(root: Path) -> None:
    with_pixels, without = mpii(root, size=(48, 48))[0], mpii(root, size=(48, 48), images=0)[0]
    for ours, theirs in zip(with_pixels[1:], without[1:]):
        torch.testing.assert_close(ours, theirs)
    assert without.images.shape == (0, 48, 48, 3)


@pytest.mark.parametrize('size', [(1, 1), (300, 200), (17, 1000)], ids=str)
@pytest.mark.parametrize('progressive', [0, 1])
def test_the_header_of_a_jpeg_tells_its_size(
    tmp_path: Path, size: tuple[int, int], progressive: int
) -> None:
    path = tmp_path / 'a.jpg'
    settings = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8), settings)
    assert jpeg_size(path) == size
    # Padding before a marker, and a segment that holds another picture's header.
    data, thumbnail = path.read_bytes(), b'\xff\xe1\x00\x0b\xff\xc0\x00\x11\x08\x00\x05\x00\x05'
    path.write_bytes(data[:2] + thumbnail + b'\xff\xff' + data[2:])
    assert jpeg_size(path) == size


@pytest.mark.parametrize('data', [b'', b'\x89PNG', b'\xff\xd8\xff\xe0', b'\xff\xd8\x00\x00'])
def test_a_file_without_a_size_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / 'a.jpg').write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.jpg' is not a JPEG file with a size"):
        jpeg_size(tmp_path / 'a.jpg')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'task': 'detection'}, r"task must be one of .* with MPII, got 'detection'"),
        ({'split': 'valid'}, r"split must be one of .* got 'valid'"),
        ({'history': 2}, 'history must be 1: photos have no frames before, got 2'),
        ({'activities': {}}, 'activities must name at least one label'),
        ({'activities': {'a': 'walking'}}, "a list of patterns for 'a', got 'walking'"),
        ({'activities': {'a': ['nothing']}}, "no image for task 'activity' in split 'train'"),
        ({'annotations': 'x.mat'}, r"must hold one of \['x\.mat'\], and a folder of images"),
        ({'images_dir': 'x'}, r"x' holds none of the \d+ images, as '0"),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, dict) else '',
)
def test_settings_that_can_not_be_followed_are_refused(
    root: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mpii(root, **settings)


def test_files_that_are_not_mpii_are_named(tmp_path: Path) -> None:
    path = tmp_path / 'mpii_human_pose_v1_u12_1.mat'
    path.write_text('no matrix' * 100)
    with pytest.raises(ValueError, match=r"u12_1\.mat' is not a Matlab file"):
        mpii(tmp_path)
    savemat(path, {'OTHER': 1})
    with pytest.raises(ValueError, match=r'must hold RELEASE with annolist, .* got 0, 0 and 0'):
        mpii(tmp_path)
