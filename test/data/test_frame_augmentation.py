"""Augmentation moves pixels and truth together."""

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.pose.skeleton import FLIPPED, NUM_KEYPOINTS
from mtl_training.data.frame_augmentation import FrameAugmentation
from mtl_training.data.frame_geometry import compose, warp_images, warp_sample, warp_truth
from mtl_training.data.frame_sample import collate_frames, FrameSample, MASK_STRIDE, UNKNOWN
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = (160, 200)
MEAN = (0.4, 0.4, 0.4)
GREY = 102
NOTHING = {'rotation_deg': 0.0, 'scale': (1.0, 1.0), 'flip': 0.0, 'centre_shift': 0.0}
MIRROR = torch.tensor([[-1.0, 0.0, SIZE[1] - 1], [0.0, 1.0, 0.0]], dtype=torch.float64)
seeds = st.integers(0, 2**32 - 1)
augmentations = st.builds(
    FrameAugmentation,
    rotation_deg=st.floats(0, 180),
    scale=st.sampled_from([(0.5, 0.8), (0.7, 1.2), (1.3, 2.0)]),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    centre_shift=st.floats(0, 0.3),
    crop=st.sampled_from(['image', 'person']),
)


def colour_of(joint: int) -> tuple[int, int, int]:
    """Return a colour that tells a joint from all others and from the background."""
    return 60 + 97 * joint % 190, 255 - 9 * joint, 60 + 11 * joint


def people(seed: int, count: int = 3, frames: int = 1) -> FrameSample:
    """Return random people within the image, without pixels; the joints lie in the boxes."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform([0, 0], [SIZE[1] - 60, SIZE[0] - 60], (count, frames, 2))
    sides = rng.uniform(30, 58, (count, frames, 2))
    places = corners[:, :, None] + rng.uniform(0, 1, (count, frames, 17, 2)) * sides[:, :, None]
    visibilities = rng.integers(0, 3, (count, frames, 17, 1))
    keypoints = np.concatenate([places * (visibilities > 0), visibilities], -1)
    return FrameSample(
        images=torch.zeros(0, *SIZE, 3, dtype=torch.uint8),
        boxes=torch.tensor(np.concatenate([corners, corners + sides], -1)).float(),
        keypoints=torch.tensor(keypoints).float(),
        areas=torch.tensor(sides.prod(-1) / 2).float(),
        activities=torch.full((count,), UNKNOWN),
        is_crowd=torch.zeros(count, dtype=torch.bool),
        mask=torch.ones(SIZE[0] // MASK_STRIDE, SIZE[1] // MASK_STRIDE, dtype=torch.bool),
        transform=torch.tensor([[0.5, 0.0, 3.0], [0.0, 0.25, -2.0]]),
        size=(400, 300),
        image_id=7,
        index=0,
    )


def painted() -> FrameSample:
    """Return a person whose joints are blobs, each of its own colour."""
    image = np.full((*SIZE, 3), GREY, np.uint8)
    places = np.array([[40 + 24 * (i % 6), 50 + 24 * (i // 6)] for i in range(NUM_KEYPOINTS)])
    for joint, place in enumerate(places):
        cv2.circle(image, place.tolist(), 6, colour_of(joint), -1)
    keypoints = torch.cat([torch.tensor(places), torch.full((NUM_KEYPOINTS, 1), 2)], 1).float()
    return people(0, 1)._replace(
        images=torch.from_numpy(image)[None],
        boxes=torch.tensor([[[30.0, 40.0, 170.0, 108.0]]]),
        keypoints=keypoints[None, None],
    )


def rotation(angle_deg: float, zoom: float = 1.0) -> Tensor:
    """Return a rotation about the middle of the image."""
    cosine = zoom * np.cos(np.radians(angle_deg))
    sine = zoom * np.sin(np.radians(angle_deg))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middle = (np.array(SIZE[::-1]) - 1) / 2
    return torch.from_numpy(np.column_stack([linear, middle - linear @ middle]))


def assert_same(sample: FrameSample, other: FrameSample) -> None:
    """Assert that two samples are equal up to rounding."""
    for name, ours, theirs in zip(sample._fields, sample, other):
        torch.testing.assert_close(
            ours, theirs, rtol=1e-5, atol=1e-4, msg=lambda text, name=name: f'{name}: {text}'
        )


@settings(max_examples=30, deadline=None)
@given(augmentation=augmentations, seed=seeds)
def test_every_joint_stays_on_its_blob(augmentation: FrameAugmentation, seed: int) -> None:
    sample = painted()
    rng = np.random.default_rng(seed)
    warped = augmentation(sample, rng)
    mirrored = torch.linalg.det(warped.transform[:, :2]) < 0
    for keypoints in warped.keypoints[:, 0]:
        for joint in range(NUM_KEYPOINTS):
            x, y, visibility = keypoints[joint].tolist()
            if visibility:
                shown = warped.images[0, round(y), round(x)].tolist()
                assert shown == list(colour_of(FLIPPED[joint] if mirrored else joint))


@settings(max_examples=30, deadline=None)
@given(augmentation=augmentations, seed=seeds)
def test_boxes_lie_in_the_image_and_hold_the_joints(
    augmentation: FrameAugmentation, seed: int
) -> None:
    warped = augmentation(people(seed, 5, frames=2), np.random.default_rng(seed))
    boxes, keypoints = warped.boxes, warped.keypoints
    assert (boxes >= -0.5).all()
    assert (boxes <= torch.tensor([SIZE[1], SIZE[0]] * 2) - 0.5).all()
    lows, highs = boxes[..., None, :2] - 1e-3, boxes[..., None, 2:] + 1e-3
    held = ((keypoints[..., :2] >= lows) & (keypoints[..., :2] <= highs)).all(-1)
    assert held[keypoints[..., 2] > 0].all()
    assert (keypoints[keypoints[..., 2] == 0] == 0).all()
    # Nobody without a box has an area or a joint, and crowds have no joints.
    nowhere = (boxes == 0).all(-1)
    assert (warped.areas[nowhere] == 0).all()
    assert (keypoints[nowhere] == 0).all()
    assert (keypoints[warped.is_crowd] == 0).all()
    assert len(collate_frames([warped, people(seed, frames=2)]).boxes) == 2


@settings(max_examples=30, deadline=None)
@given(augmentation=augmentations, seed=seeds)
def test_the_transform_leads_from_the_original_to_the_result(
    augmentation: FrameAugmentation, seed: int
) -> None:
    sample = people(seed)
    warped = augmentation(sample, np.random.default_rng(seed))
    matrix = augmentation.draw(sample, SIZE, np.random.default_rng(seed))
    point = torch.tensor([11.0, -5.0, 1.0], dtype=torch.float64)
    in_sample = torch.cat([sample.transform.double() @ point, point[2:]])
    torch.testing.assert_close(
        warped.transform.double() @ point, matrix @ in_sample, atol=1e-3, rtol=0
    )
    assert warped.size == sample.size


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_settings_that_ask_for_nothing_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = torch.tensor(rng.integers(0, 256, (2, *SIZE, 3)), dtype=torch.uint8)
    mask = torch.tensor(rng.random((SIZE[0] // 4, SIZE[1] // 4)) < 0.5)
    sample = people(seed, frames=2)._replace(images=images, mask=mask)
    augmented = FrameAugmentation(**NOTHING)(sample, rng)
    assert_same(augmented, sample)
    assert torch.equal(augmented.images, images)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_mirroring_twice_is_the_identity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = torch.tensor(rng.integers(0, 256, (1, *SIZE, 3)), dtype=torch.uint8)
    mask = torch.tensor(rng.random((SIZE[0] // 4, SIZE[1] // 4)) < 0.5)
    sample = people(seed)._replace(images=images, mask=mask)
    mirror = FrameAugmentation(**{**NOTHING, 'flip': 1.0})
    once = mirror(sample, rng)
    assert torch.equal(once.images, images.flip(2))
    assert torch.equal(once.mask, mask.flip(1))
    assert torch.equal(once.keypoints[..., 2], sample.keypoints[..., list(FLIPPED), 2])
    assert_same(mirror(once, rng), sample)


def test_a_right_wrist_becomes_a_left_wrist_in_the_mirror() -> None:
    sample = people(0, 1)
    keypoints = torch.zeros(1, 1, 17, 3)
    keypoints[0, 0, 10] = torch.tensor([60.0, 70.0, 1.0])
    sample = sample._replace(keypoints=keypoints, boxes=torch.tensor([[[50.0, 50, 90, 100]]]))
    mirrored = warp_truth(sample, MIRROR, SIZE)
    assert mirrored.keypoints[0, 0, 9].tolist() == [SIZE[1] - 1 - 60, 70, 1]
    assert mirrored.keypoints[0, 0, 10].tolist() == [0, 0, 0]
    assert mirrored.boxes[0, 0].tolist() == [109, 50, 149, 100]


@pytest.mark.parametrize('angle', [15, 40, 90, 135])
def test_the_box_of_a_rotated_person_is_that_of_the_ellipse_inscribed(angle: int) -> None:
    sample = people(0, 1)._replace(
        boxes=torch.tensor([[[90.0, 50, 110, 110]]]), keypoints=torch.zeros(1, 1, 17, 3)
    )
    around = np.linspace(0, 2 * np.pi, 3601)
    ellipse = np.stack([100 + 10 * np.cos(around), 80 + 30 * np.sin(around)], -1)
    matrix = rotation(angle)
    moved = ellipse @ matrix[:, :2].numpy().T + matrix[:, 2].numpy()
    expected = [*moved.min(0), *moved.max(0)]
    found = warp_truth(sample, matrix, SIZE).boxes[0, 0].tolist()
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('angle', [15, 40, 90])
def test_a_rotated_crowd_fills_the_box_of_its_corners(angle: int) -> None:
    sample = people(0, 1)._replace(
        boxes=torch.tensor([[[80.0, 60, 120, 90]]]),
        keypoints=torch.zeros(1, 1, 17, 3),
        is_crowd=torch.tensor([True]),
    )
    corners = np.array([[80, 60], [120, 60], [80, 90], [120, 90]])
    matrix = rotation(angle).numpy()
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    found = warp_truth(sample, rotation(angle), SIZE).boxes[0, 0].tolist()
    assert found == pytest.approx([*moved.min(0), *moved.max(0)], abs=1e-3)


def test_areas_grow_with_the_square_of_the_scale_and_shrink_with_what_is_cut_off() -> None:
    sample = people(0, 1)._replace(
        boxes=torch.tensor([[[90.0, 70, 110, 90]]]), areas=torch.tensor([[200.0]])
    )
    sample = sample._replace(keypoints=torch.zeros(1, 1, 17, 3))
    grown = warp_truth(sample, rotation(30, zoom=1.5), SIZE)
    assert grown.areas.item() == pytest.approx(1.5**2 * 200, rel=1e-5)
    # Half of the box lies left of the image.
    shift = torch.tensor([[1.0, 0.0, -100.5], [0.0, 1.0, 0.0]])
    assert warp_truth(sample, shift, SIZE).areas.item() == pytest.approx(100, rel=1e-5)


def shifted_out(joints_at: list[float], left: float) -> FrameSample:
    """Return somebody 40 pixels wide, in two frames, with ``left`` pixels still in the image."""
    keypoints = torch.zeros(1, 2, 17, 3)
    for joint, x in enumerate(joints_at):
        keypoints[0, :, joint] = torch.tensor([50 + x, 60.0, 2.0])
    sample = people(0, 1, frames=2)._replace(
        boxes=torch.tensor([[[50.0, 40, 90, 80]] * 2]), keypoints=keypoints
    )
    shift = torch.tensor([[1.0, 0.0, left - 90.5], [0.0, 1.0, 0.0]])
    return warp_truth(sample, shift, SIZE)


def test_somebody_whose_joints_remain_stays_a_person() -> None:
    seen = shifted_out([5, 25, 35, 38], left=20)
    assert seen.is_crowd.tolist() == [False]
    assert seen.boxes[0, 1].tolist() == pytest.approx([-0.5, 40, 19.5, 80])
    assert (seen.keypoints[0, 1, :, 2] > 0).sum() == 3
    assert seen.mask.all()


@pytest.mark.parametrize(
    ('joints_at', 'left'),
    [([33, 34, 35], 7.0), ([5, 6, 30, 35], 20.0)],
    ids=['a seventh of the box', 'two of four joints'],
)
def test_the_rest_of_somebody_is_a_crowd_without_joints(
    joints_at: list[float], left: float
) -> None:
    rest = shifted_out(joints_at, left)
    assert rest.is_crowd.tolist() == [True]
    assert (rest.keypoints == 0).all()
    assert rest.boxes[0, 1].tolist() == pytest.approx([-0.5, 40, left - 0.5, 80])
    # In the older frame there is simply nobody.
    assert rest.boxes[0, 0].tolist() == [0, 0, 0, 0]
    # The box spans the rows of cells that hold its pixels 40 to 80.
    expected = torch.ones_like(rest.mask)
    expected[10:21, : int(np.ceil(left / 4))] = False
    assert torch.equal(rest.mask, expected)


def test_somebody_with_few_joints_needs_none_of_them() -> None:
    assert shifted_out([5, 6], left=20).is_crowd.tolist() == [False]


def test_who_is_outside_in_all_frames_is_left_out() -> None:
    assert len(shifted_out([5, 35], left=-1).boxes) == 0


def test_a_mask_follows_the_pixels_that_it_masks() -> None:
    rng = np.random.default_rng(0)
    cells = F.interpolate(torch.tensor(rng.random((1, 1, 5, 5)) < 0.5).float(), (40, 50))[
        0, 0
    ].bool()
    image = 255 * cells.repeat_interleave(4, 0).repeat_interleave(4, 1)
    sample = people(0, 0)._replace(
        images=image[None, ..., None].repeat(1, 1, 1, 3).byte(), mask=cells
    )
    warped = warp_sample(sample, rotation(25, 1.2), SIZE, mean=(1.0, 1.0, 1.0))
    shown = F.avg_pool2d(warped.images[..., 0].float(), 4)[0]
    is_clear = (shown < 1) | (shown > 254)
    assert is_clear.float().mean() > 0.5
    assert torch.equal((shown > 128)[is_clear], warped.mask[is_clear])


def test_a_mask_of_full_resolution_gives_that_of_the_stride() -> None:
    cells = torch.tensor(np.random.default_rng(1).random((40, 50)) < 0.5)
    full = cells.repeat_interleave(4, 0).repeat_interleave(4, 1)
    identity = torch.eye(3, dtype=torch.float64)[:2]
    from_full = warp_truth(people(0, 0)._replace(mask=full), identity, SIZE, mask_stride=1)
    assert torch.equal(from_full.mask, cells)


def test_the_surroundings_have_the_mean_colour_and_hold_nobody() -> None:
    image = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    sample = people(0, 0)._replace(images=image, mask=torch.zeros(40, 50, dtype=torch.bool))
    warped = warp_sample(sample, rotation(0, 0.5), SIZE, mean=(0.2, 0.4, 0.6))
    assert warped.images[0, 2, 2].tolist() == [51, 102, 153]
    assert warped.images[0, 80, 100].tolist() == [0, 0, 0]
    assert warped.mask[0, 0]
    assert not warped.mask[20, 25]


@pytest.mark.parametrize('factor', [1.5, 2.0, 4.0])
def test_shrinking_blurs_as_the_antialiased_resize_does(factor: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 240, 240, 3), dtype=np.uint8)
    image = torch.from_numpy(noise)
    side = round(240 / factor)
    offset = 0.5 / factor - 0.5
    matrix = torch.tensor([[1 / factor, 0.0, offset], [0.0, 1 / factor, offset]])
    ours = warp_images(image, matrix, (side, side), MEAN)[0].float()
    resized = F.interpolate(
        image.permute(0, 3, 1, 2), (side, side), mode='bilinear', antialias=True
    )[0].permute(1, 2, 0)
    inner = slice(4, -4)
    ours, theirs = ours[inner, inner], resized[inner, inner].float()
    assert ours.std() == pytest.approx(theirs.std().item(), rel=0.2)
    # Without the blur, noise would keep more of its contrast and become another image.
    alike = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
    assert alike > 0.95


def test_a_crop_is_centred_on_the_main_person() -> None:
    sample = people(0, 3)._replace(
        boxes=torch.tensor([[[10.0, 10, 20, 40]], [[20, 60, 60, 110]], [[0, 0, 199, 159]]]),
        is_crowd=torch.tensor([False, False, True]),
        keypoints=torch.zeros(3, 1, 17, 3),
    )
    augmentation = FrameAugmentation(**NOTHING, crop='person')
    box = augmentation(sample, np.random.default_rng(0)).boxes
    main = box[(box[:, 0, 3] - box[:, 0, 1] - 0.6 * SIZE[0]).abs().argmin(), 0]
    assert (main[3] - main[1]).item() == pytest.approx(0.6 * SIZE[0], rel=1e-5)
    middle = ((main[:2] + main[2:]) / 2).tolist()
    assert middle == pytest.approx([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])


def test_a_small_person_is_not_blown_up_beyond_the_limit() -> None:
    sample = people(0, 1)._replace(
        boxes=torch.tensor([[[10.0, 10, 12, 14]]]), keypoints=torch.zeros(1, 1, 17, 3)
    )
    augmentation = FrameAugmentation(**NOTHING, crop='person', max_zoom=3.0)
    box = augmentation(sample, np.random.default_rng(0)).boxes[0, 0]
    assert (box[3] - box[1]).item() == pytest.approx(12.0)


def test_a_crop_around_nobody_is_around_the_image() -> None:
    sample = people(0, 0)
    augmentation = FrameAugmentation(**NOTHING, crop='person')
    matrix = augmentation.draw(sample, SIZE, np.random.default_rng(0))
    torch.testing.assert_close(matrix, torch.eye(3, dtype=torch.float64)[:2])
    assert augmentation(sample, np.random.default_rng(0)).boxes.shape == (0, 1, 4)


def test_draws_stay_within_their_settings_and_reach_them() -> None:
    augmentation = FrameAugmentation(flip=0.3)
    rng = np.random.default_rng(0)
    drawn = torch.stack([augmentation.draw(people(0), SIZE, rng) for _ in range(400)])
    determinants = torch.linalg.det(drawn[:, :, :2])
    zooms = determinants.abs().sqrt()
    assert 0.7 <= zooms.min() < 0.75 < 1.15 < zooms.max() <= 1.2
    assert (determinants < 0).float().mean() == pytest.approx(0.3, abs=0.07)
    angles = torch.rad2deg(torch.atan2(-drawn[:, 0, 1], drawn[:, 1, 1]))
    assert -40 <= angles.min() < -35 < 35 < angles.max() <= 40
    middle = (torch.tensor([SIZE[1], SIZE[0], 3.0]).double() - 1) / 2
    middle[2] = 1
    shifts = (drawn @ middle - middle[:2]).abs().amax(0) / torch.tensor([SIZE[1], SIZE[0]])
    assert ((shifts > 0.9 * 40 / 480) & (shifts <= 40 / 480 + 1e-9)).all()


def test_maps_compose_in_the_order_of_their_doing() -> None:
    point = torch.tensor([3.0, 4.0, 1.0]).double()
    first, second = rotation(30, 2.0), MIRROR
    expected = second @ torch.cat([first @ point, point[2:]])
    torch.testing.assert_close(compose(second, first) @ point, expected)


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        ({'rotation_deg': -1.0}, r'rotation_deg must be from 0 to 180, got -1\.0'),
        ({'scale': (1.2, 0.7)}, r'scale must be two positive numbers, low first, got \(1\.2'),
        ({'flip': 1.5}, r'flip must be a probability, got 1\.5'),
        ({'centre_shift': float('nan')}, r'centre_shift must be from 0 to 1, got nan'),
        ({'crop': 'face'}, r"crop must be one of \('image', 'person'\), got 'face'"),
        ({'person_height': 0.0}, r'person_height must be positive, got 0\.0'),
        ({'max_zoom': -2.0}, r'max_zoom must be positive, got -2\.0'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_settings_out_of_range_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameAugmentation(**setting)
