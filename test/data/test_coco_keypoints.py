"""People of COCO, real ones and fabricated ones."""

from collections.abc import Callable
import json
import logging
from pathlib import Path
from typing import Any

import cv2
from mtl_perception.network.config import PreprocessingConfig
from mtl_perception.network.pose.skeleton import KEYPOINTS
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.coco_keypoints import CocoKeypoints
from mtl_training.data.frame_geometry import warp_points
from mtl_training.data.frame_sample import collate_frames, FrameSample, UNKNOWN
from mtl_training.data.multitask import FixedDataset
import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
import pytest
import torch
from torch.utils.data import DataLoader

TINY = Path(__file__).parents[3] / 'shared' / 'data' / 'coco_tiny'
SIZE = (96, 128)
needs_tiny = pytest.mark.skipif(not TINY.is_dir(), reason=f'{TINY} is not there')

# Of NumPy 2 about pycocotools, which the tests ask as well.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

Edit = Callable[[dict[str, Any]], None]


def standing(x: float, y: float) -> list[float]:
    """Return 17 joints of visibility 2, down from a place."""
    return [number for i in range(17) for number in (x + i % 3, y + 2 * i, 2)]


def annotation(number: int, image: int, **fields: Any) -> dict[str, Any]:
    """Return one person of COCO's format, 30 x 40 pixels at (20, 10)."""
    return {
        'id': number,
        'image_id': image,
        'category_id': 1,
        'iscrowd': 0,
        'bbox': [20, 10, 30, 40],
        'area': 1100.0,
        'num_keypoints': 17,
        'keypoints': standing(22, 12),
        'segmentation': [[20, 10, 50, 10, 50, 50, 20, 50]],
        **fields,
    }


def content() -> dict[str, Any]:
    """Return annotations with a crowd, nobody's joints, a grey image and a missing one."""
    crowd = np.zeros((60, 80), np.uint8, order='F')
    crowd[28:52, 48:80] = 1
    encoded = run_lengths.encode(crowd)
    flat = crowd.flatten(order='F')
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, len(flat)]).tolist()
    assert run_lengths.area(encoded) == sum(counts[1::2])
    none = [0] * 51
    return {
        'images': [
            {'id': i, 'file_name': f'{i}.jpg', 'height': 60, 'width': 80} for i in (7, 3, 5, 9)
        ],
        'categories': [{'id': 1, 'name': 'person', 'keypoints': list(KEYPOINTS)}],
        'annotations': [
            annotation(1, 3),
            annotation(
                2,
                3,
                iscrowd=1,
                bbox=[48, 28, 32, 24],
                area=768,
                keypoints=none,
                num_keypoints=0,
                segmentation={'size': [60, 80], 'counts': counts},
            ),
            annotation(
                3,
                5,
                bbox=[0, 0, 16, 20],
                keypoints=none,
                segmentation=[[0, 0, 16, 0, 16, 20, 0, 20]],
            ),
            annotation(4, 5, bbox=[40, 20, 8, 8], area=50, segmentation=[]),
            annotation(5, 9),
        ],
    }


def write(root: Path, edit: Edit | None = None) -> Path:
    """Write the fabricated data set; 3 is in colour, 5 is grey, 7 has nobody, 9 is missing."""
    annotations = content()
    if edit is not None:
        edit(annotations)
    for name in ('annotations', 'val2017'):
        (root / name).mkdir(parents=True, exist_ok=True)
    path = root / 'annotations' / 'person_keypoints_val2017.json'
    path.write_text(json.dumps(annotations))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(root / 'val2017' / '3.jpg'), pixels)
    cv2.imwrite(str(root / 'val2017' / '5.jpg'), pixels[..., 0])
    cv2.imwrite(str(root / 'val2017' / '7.jpg'), pixels)
    return root


def coco(
    root: Path, split: str = 'val', task: str = 'keypoints', **settings: Any
) -> CocoKeypoints:
    """Return a data set of 60 x 80 pixels, in which COCO's own are kept as they are."""
    return CocoKeypoints(task, split, root=str(root), **{'size': (60, 80), **settings})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the fabricated data set."""
    return write(tmp_path)


def test_images_with_people_are_found_and_the_others_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = coco(root)
    assert dataset.groups() == [3, 5]
    assert [dataset[i].image_id for i in range(len(dataset))] == [3, 5]
    assert Path(dataset.describe(1)) == root / 'val2017' / '5.jpg'
    assert [record.message for record in caplog.records] == [
        f"Left out: 1 of 3 images are not in '{root}/val2017', as '9.jpg'."
    ]


def test_boxes_measure_from_the_centre_of_the_first_pixel(root: Path) -> None:
    sample = coco(root)[0]
    assert sample.boxes[0, 0].tolist() == [19.5, 9.5, 49.5, 49.5]
    # A joint in the first row and column of pixels is at (0, 0) in both.
    assert sample.keypoints[0, 0].flatten().tolist() == standing(22, 12)
    assert sample.areas[0, 0] == 1100
    assert sample.activities.tolist() == [UNKNOWN, UNKNOWN]


def test_a_crowd_is_no_person_and_its_region_is_masked(root: Path) -> None:
    sample = coco(root)[0]
    assert sample.is_crowd.tolist() == [False, True]
    rows, columns = np.mgrid[1.5:60:4, 1.5:80:4]
    expected = (rows >= 28) & (rows < 52) & (columns >= 48)
    assert np.array_equal(~sample.mask.numpy(), expected)


def test_people_without_joints_and_tiny_ones_are_people_but_masked(root: Path) -> None:
    sample = coco(root)[1]
    assert sample.is_crowd.tolist() == [False, False]
    rows, columns = np.mgrid[1.5:60:4, 1.5:80:4]
    without_joints = (rows < 20) & (columns < 16)
    # Without a segment, it is the box.
    tiny = (rows >= 20) & (rows < 28) & (columns >= 40) & (columns < 48)
    assert np.array_equal(~sample.mask.numpy(), without_joints | tiny)
    assert (sample.keypoints[1, 0, :, 2] == 2).all()
    larger = coco(root, tiny_area=40.0)[1]
    assert np.array_equal(~larger.mask.numpy(), without_joints)


def test_compressed_run_lengths_are_read_as_uncompressed_ones(tmp_path: Path) -> None:
    def compress(annotations: dict[str, Any]) -> None:
        segmentation = annotations['annotations'][1]['segmentation']
        encoded = run_lengths.frPyObjects(segmentation, 60, 80)
        segmentation['counts'] = encoded['counts'].decode()

    plain, compressed = write(tmp_path / 'a'), write(tmp_path / 'b', compress)
    assert torch.equal(coco(plain)[0].mask, coco(compressed)[0].mask)


def test_a_grey_image_has_three_equal_channels(root: Path) -> None:
    images = coco(root)[1].images
    assert images.shape == (1, 60, 80, 3)
    assert torch.equal(images[..., 0], images[..., 2])
    assert images.float().std() > 10


def test_an_image_is_rgb_as_it_is_stored_whatever_its_orientation(root: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[..., 2] = 255  # OpenCV writes BGR
    path = root / 'val2017' / '3.jpg'
    cv2.imwrite(str(path), image)
    # An Exif segment that says: turn by a quarter.
    tiff = (
        b'II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00'
        + b'\0' * 4
    )
    body = b'Exif\x00\x00' + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body + data[2:])
    assert cv2.imread(str(path)).shape == (80, 60, 3)
    sample = coco(root)[0]
    assert sample.images.shape == (1, 60, 80, 3)
    red, green, blue = sample.images[0, 30, 40].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_truth_alone_needs_no_files(root: Path) -> None:
    with_pixels = coco(root)[0]
    for path in (root / 'val2017').iterdir():
        path.unlink()
    dataset = coco(root, images=0)
    assert dataset.groups() == [3, 5, 9]
    for ours, theirs in zip(dataset[0][1:], with_pixels[1:]):
        torch.testing.assert_close(ours, theirs)
    assert dataset[0].images.shape == (0, 60, 80, 3)


def test_somebody_must_have_as_many_joints_as_asked_for(tmp_path: Path) -> None:
    def few(annotations: dict[str, Any]) -> None:
        annotations['annotations'][0]['keypoints'][9:] = [0] * 42

    root = write(tmp_path, few)
    assert coco(root, min_keypoints=3).groups() == [3, 5]
    assert coco(root, task='association').groups() == [5]
    with pytest.raises(ValueError, match='nobody has min_keypoints, 18 joints'):
        coco(root, min_keypoints=18)


def test_labels_are_those_of_the_kind_of_task(root: Path) -> None:
    assert coco(root, task='detection').labels == ('person',)
    assert coco(root, task='keypoints').labels == KEYPOINTS
    assert coco(root, task='association').labels == KEYPOINTS
    with pytest.raises(ValueError, match=r"with COCO, got 'activity'"):
        coco(root, task='activity')


def test_detection_learns_from_boxes_alone(tmp_path: Path) -> None:
    def boxes_alone(annotations: dict[str, Any]) -> None:
        del annotations['categories'][0]['keypoints']
        for entry in annotations['annotations']:
            del entry['keypoints']

    root = write(tmp_path, boxes_alone)
    assert (coco(root, task='detection')[0].keypoints == 0).all()
    with pytest.raises(ValueError, match=r"annotation 1 must have 'keypoints'"):
        coco(root, task='keypoints')


def test_val_stands_in_for_test_unless_another_file_is_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert coco(root, 'test').groups() == coco(root, 'val').groups()
    assert any('val stands in for test' in record.message for record in caplog.records)
    (root / 'annotations' / 'person_keypoints_val2017.json').rename(root / 'mine.json')
    (root / 'val2017').rename(root / 'photos')
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mine = coco(root, 'test', annotations='mine.json', images_dir='photos')
    assert mine.groups() == [3, 5]
    assert not any('stands in' in record.message for record in caplog.records)


def test_augmentation_is_for_training_alone(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / 'val2017').rename(root / 'train2017')
    (root / 'annotations' / 'person_keypoints_val2017.json').rename(
        root / 'annotations' / 'person_keypoints_train2017.json'
    )
    drawn = FixedDataset(coco(root, 'train', augment=True))
    assert torch.equal(drawn[0].transform, drawn[0].transform)
    assert not torch.equal(drawn[0].transform, drawn[1].transform)
    assert not torch.equal(drawn[0].transform, coco(root, 'train')[0].transform)
    names = {
        'annotations': 'annotations/person_keypoints_train2017.json',
        'images_dir': 'train2017',
    }
    val = coco(root, 'val', augment=True, **names)
    torch.testing.assert_close(val[0].transform, torch.eye(3)[:2])


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('images', [0, 1])
def test_a_loader_makes_batches(root: Path, images: int, workers: int) -> None:
    loader = DataLoader(
        coco(root, images=images), batch_size=2, collate_fn=collate_frames, num_workers=workers
    )
    batch = next(iter(loader))
    assert batch.images.shape == (2, images, 60, 80, 3)
    assert batch.is_person.tolist() == [[True, False], [True, True]]
    assert batch.image_ids.tolist() == [3, 5]


def set_field(number: int, **fields: Any) -> Edit:
    """Return an edit of one annotation."""
    return lambda annotations: annotations['annotations'][number].update(fields)


MISTAKES: dict[str, tuple[Edit, str]] = {
    'keypoints': (
        set_field(0, keypoints=[1] * 50),
        'annotation 1: keypoints must be 51 .* got 50',
    ),
    'bbox': (set_field(4, bbox=[1, 2, 3]), 'annotation 5: bbox must be 4 numbers, got 3'),
    'nan': (set_field(0, bbox=[1, 2, 3, float('nan')]), r'annotation 1: bbox must be 4 .* nan\]'),
    'width': (set_field(0, bbox=[1, 2, -3, 4]), r'annotation 1: bbox must be \(x, y, width'),
    'text': (set_field(0, bbox='1 2 3 4'), "annotation 1: bbox has the wrong type, got '1 2 3 4'"),
    'area': (set_field(0, area=-1.0), 'annotation 1: area must be a number of pixels, got -1'),
    'image': (set_field(0, image_id=4), 'annotation 1: image_id must be of a listed image, got 4'),
    'visibility': (
        set_field(0, keypoints=[3] * 51),
        'annotation 1: visibilities must be 0, 1 or 2',
    ),
    'polygon': (
        set_field(2, segmentation=[[1, 2, 3, 4]]),
        'annotation 3: segmentation must be polygons or run lengths',
    ),
    'size': (
        set_field(1, segmentation={'size': [80, 60], 'counts': [4800]}),
        r'annotation 2: size of its segmentation must be that of the image, \[60, 80\]',
    ),
    'counts': (
        set_field(1, segmentation={'size': [60, 80], 'counts': [5]}),
        'annotation 2: counts of its segmentation must add up',
    ),
    'no area': (lambda all_: all_['annotations'][0].pop('area'), "annotation 1 must have 'area'"),
    'no id': (lambda all_: all_['annotations'][0].pop('id'), "must have 'id'"),
    'no images': (lambda all_: all_.pop('images'), "must hold a list of 'images'"),
    'no file_name': (
        lambda all_: all_['images'][0].pop('file_name'),
        "image 7 must have 'file_na",
    ),
    'no height': (
        lambda all_: all_['images'][0].update(height=0),
        'image 7: its sides must be pos',
    ),
    'nobody': (lambda all_: all_['annotations'].clear(), 'has no annotation of a person'),
    'cats': (
        lambda all_: all_['categories'][0].update(name='cat'),
        r"one category must be 'person', got \['cat'\]",
    ),
    'order': (
        lambda all_: all_['categories'][0].update(keypoints=['nose', 'tail']),
        r"keypoints of category 'person' must be .* got \['nose', 'tail'\]",
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_in_the_annotations_is_named(tmp_path: Path, mistake: str) -> None:
    edit, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        coco(write(tmp_path, edit))
    assert 'person_keypoints_val2017.json' in str(caught.value)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'history': 4}, 'history must be 1: photos have no frames before, got 4'),
        ({'images': 2}, 'images must be 0 or 1: a photo is one frame, got 2'),
        ({'split': 'valid'}, r"split must be one of .* got 'valid'"),
        ({'split': 'train'}, r"person_keypoints_train2017\.json' is not a file; the layout is"),
        ({'images_dir': 'nowhere'}, "nowhere' holds none of the 3 images, as '3.jpg'"),
        ({'fit': 'squeeze'}, "fit must be one of .* got 'squeeze'"),
        ({'flip': 2.0}, 'flip must be a probability'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, dict) else '',
)
def test_settings_that_photos_can_not_follow_are_refused(
    root: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        coco(root, **settings)


def test_broken_files_are_named(root: Path) -> None:
    cv2.imwrite(str(root / 'val2017' / '3.jpg'), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"3\.jpg' must have .* \(60, 80\), got \(10, 10\)"):
        coco(root)[0]
    (root / 'val2017' / '3.jpg').write_text('no image')
    with pytest.raises(ValueError, match=r"3\.jpg' is not an image that can be decoded"):
        coco(root)[0]
    (root / 'annotations' / 'person_keypoints_val2017.json').write_text('{')
    with pytest.raises(ValueError, match=r"val2017\.json' is not JSON"):
        coco(root)


@needs_tiny
@pytest.mark.parametrize('fit', ['pad', 'crop', 'stretch'])
def test_real_images_go_through_the_resize_of_the_robot(fit: str) -> None:
    dataset = coco(TINY, size=SIZE, fit=fit)
    preprocessor = FramePreprocessor(PreprocessingConfig(resize=SIZE, fit=fit))
    for index in range(3):
        sample = dataset[index]
        pixels = cv2.imread(dataset.describe(index))[..., ::-1].copy()
        expected = preprocessor.resize(torch.from_numpy(pixels)[None]).permute(0, 2, 3, 1)
        assert torch.equal(sample.images, expected)
        transform = preprocessor.transform(pixels.shape[:2])
        torch.testing.assert_close(sample.transform.double(), transform, atol=1e-4, rtol=1e-6)
        assert sample.size == pixels.shape[:2]


@needs_tiny
@pytest.mark.parametrize(('split', 'count'), [('train', 25), ('val', 17)])
def test_real_people_are_those_that_pycocotools_reads(
    split: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = coco(TINY, split, size=SIZE)
    oracle = COCO(TINY / 'annotations' / f'person_keypoints_{split}2017.json')
    capsys.readouterr()
    assert len(dataset) == count
    for index in range(0, count, 3):
        sample = dataset[index]
        people = oracle.loadAnns(oracle.getAnnIds(imgIds=sample.image_id))
        inverse = torch.linalg.inv(
            torch.cat([sample.transform.double(), torch.tensor([[0.0, 0, 1]])])
        )[:2]
        corners = warp_points(sample.boxes[:, 0].double().view(-1, 2), inverse).view(-1, 4)
        boxes = torch.tensor([person['bbox'] for person in people])
        torch.testing.assert_close(
            torch.cat([corners[:, :2] + 0.5, corners[:, 2:] - corners[:, :2]], 1).float(),
            boxes,
            atol=0.02,
            rtol=0,
        )
        assert sample.is_crowd.tolist() == [bool(person['iscrowd']) for person in people]
        joints = torch.tensor([person['keypoints'] for person in people]).view(-1, 17, 3).double()
        known = joints[..., 2] > 0
        assert torch.equal(sample.keypoints[:, 0, :, 2].double(), joints[..., 2])
        moved = warp_points(sample.keypoints[:, 0, :, :2].double(), inverse)
        torch.testing.assert_close(moved[known], joints[..., :2][known], atol=0.02, rtol=0)
        zoom = sample.transform[0, 0] * sample.transform[1, 1]
        areas = torch.tensor([person['area'] for person in people])
        torch.testing.assert_close(sample.areas[:, 0] / zoom, areas, rtol=1e-3, atol=0)


@needs_tiny
def test_the_mask_of_real_images_is_that_of_the_segments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = coco(TINY, 'val', size=SIZE, fit='stretch')
    oracle = COCO(TINY / 'annotations' / 'person_keypoints_val2017.json')
    capsys.readouterr()
    num_masked = 0
    for index in range(len(dataset)):
        sample: FrameSample = dataset[index]
        expected = np.zeros(sample.size, bool)
        for person in oracle.loadAnns(oracle.getAnnIds(imgIds=sample.image_id)):
            if person['iscrowd'] or not person['num_keypoints'] or person['area'] < 32**2:
                expected |= oracle.annToMask(person) > 0
        rows = ((np.arange(24) * 4 + 2) / 96 * sample.size[0] - 0.5).round().astype(int)
        columns = ((np.arange(32) * 4 + 2) / 128 * sample.size[1] - 0.5).round().astype(int)
        different = ~sample.mask.numpy() != expected[rows][:, columns]
        # Cells whose centre falls on the edge of two pixels may go either way.
        assert different.mean() < 0.01
        num_masked += int((~sample.mask).sum())
    assert num_masked > 100


@needs_tiny
def test_augmented_real_images_are_valid_samples() -> None:
    dataset = FixedDataset(coco(TINY, 'train', size=SIZE, augment=True))
    batch = collate_frames([dataset[index] for index in range(len(dataset))])
    assert batch.images.shape == (25, 1, *SIZE, 3)
    assert batch.is_person.any(1).float().mean() > 0.9
    present = batch.is_person
    assert (batch.boxes[present][..., 2:] > batch.boxes[present][..., :2]).all()
    assert (batch.areas[present] > 0).all()
    seen = batch.keypoints[batch.keypoints[..., 2] > 0][:, :2]
    assert len(seen) > 100
    assert ((seen >= -0.5) & (seen < torch.tensor(SIZE[::-1]) - 0.5)).all()
