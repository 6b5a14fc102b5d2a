"""Tests of :mod:`mtl_perception.network.pose.detection`; the oracle is torchvision's RetinaNet."""

from collections.abc import Callable
from dataclasses import replace
import gc
import math
from typing import Any
import weakref

from mtl_perception.network import load_torchvision_weights, MultiTaskNetwork
from mtl_perception.network.pose.decoding import box_candidates, suppress
from mtl_perception.network.pose.detection import (
    decode_boxes,
    DetectionBranch,
    DetectionConfig,
    DetectionOutput,
    encode_boxes,
    NUM_ANCHORS,
)
from mtl_perception.network.torchvision_retinanet import retinanet_config
import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops import box_iou

CHANNELS = (4, 8, 16, 32)
PERSON = 1
SMALL = DetectionConfig(channels=8, num_convs=1)


def ours_like(theirs: RetinaNet, size: tuple[int, int]) -> MultiTaskNetwork:
    """Return our network with the weights of torchvision's and without limits on boxes."""
    weights = theirs.state_dict()
    config = retinanet_config(weights, size=size)
    person = config.tasks['person']
    limits = {'max_candidates': theirs.topk_candidates, 'max_people': theirs.detections_per_img}
    person = replace(person, settings={**person.settings, **limits})
    network = MultiTaskNetwork(replace(config, tasks={'person': person})).eval()
    load_torchvision_weights(network, weights, trunk='frame')
    return network


def maps_of(height: int, width: int, batch: int = 1) -> list[Tensor]:
    return [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32))
    ]


@pytest.mark.parametrize('version', ['v1', 'v2'])
@torch.no_grad()
def test_anchors_boxes_and_scores_of_people_are_those_of_torchvision(
    version: str, retinanet: Callable[[str], RetinaNet], images: Tensor
) -> None:
    theirs = retinanet(version)
    normalised = theirs.transform(list(images))[0]
    frames = normalised.tensors
    assert frames.shape == images.shape, 'nothing is resized'
    size = (frames.shape[2], frames.shape[3])
    ours = ours_like(theirs, size)
    outputs = ours({'frame': frames})

    levels = list(theirs.backbone(frames).values())
    raw, output = theirs.head(levels), outputs['person']
    # Theirs count from the corner of the image, ours from the centre of its first pixel.
    assert torch.equal(output.anchors + 0.5, theirs.anchor_generator(normalised, levels)[0])
    assert output.level_sizes == tuple(
        NUM_ANCHORS * level.shape[2] * level.shape[3] for level in levels
    )
    logits = raw['cls_logits'][..., PERSON]
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.deltas, raw['bbox_regression'], atol=1e-4, rtol=0)

    people = ours.people_of(outputs, size)
    for i, expected in enumerate(theirs(list(images))):
        is_person = expected['labels'] == PERSON
        boxes, scores = expected['boxes'][is_person], expected['scores'][is_person]
        assert len(boxes) > 20, 'there must be boxes to compare'
        found = people.is_found[i]
        torch.testing.assert_close(people.box_scores[i, found], scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(people.boxes[i, found] + 0.5, boxes, atol=1e-3, rtol=1e-4)


def test_the_anchors_are_those_of_the_paper_in_whole_pixels() -> None:
    branch = DetectionBranch(CHANNELS, SMALL)
    output = branch(maps_of(64, 96), (64, 96))
    sides = output.anchors[:, 2:] - output.anchors[:, :2]
    first = 0
    for level, size in zip(output.level_sizes, (32, 64, 128, 256, 512)):
        found = sides[first : first + NUM_ANCHORS].prod(1).sqrt().sort().values
        scales = [size * 2 ** (i / 3) for i in range(3)]
        torch.testing.assert_close(
            found, torch.tensor(scales).repeat_interleave(3), atol=2, rtol=0
        )
        ratios = (sides[first : first + level, 1] / sides[first : first + level, 0]).log2()
        assert (ratios - ratios.round()).abs().max() < 0.1
        assert set(ratios.round().tolist()) == {-1.0, 0.0, 1.0}
        first += level
    assert first == len(output.anchors)


def test_an_anchor_scale_makes_all_anchors_smaller() -> None:
    half = DetectionBranch(CHANNELS, replace(SMALL, anchor_scale=0.5))
    whole = DetectionBranch(CHANNELS, SMALL)
    maps = maps_of(64, 64)
    small, large = half(maps, (64, 64)).anchors, whole(maps, (64, 64)).anchors
    sides = (small[:, 2:] - small[:, :2]) * 2
    torch.testing.assert_close(sides, large[:, 2:] - large[:, :2], atol=5, rtol=0)


@torch.no_grad()
def test_a_head_that_counts_from_the_corner_has_all_boxes_half_a_pixel_before() -> None:
    centre = DetectionBranch(CHANNELS, replace(SMALL, min_score=0.0))
    corner = DetectionBranch(CHANNELS, replace(SMALL, min_score=0.0, origin='corner'))
    corner.load_state_dict(centre.state_dict())
    maps = maps_of(512, 512)
    found, expected = (
        box_candidates(branch(maps, (512, 512)), branch.config, (512, 512))[0]
        for branch in (corner, centre)
    )
    is_inside = ((expected > 0) & (expected < 511)).all(-1)
    assert is_inside.sum() > 100
    torch.testing.assert_close(found[is_inside], expected[is_inside] - 0.5)


def test_anchors_as_small_as_may_be_have_sides() -> None:
    branch = DetectionBranch(CHANNELS, replace(SMALL, anchor_scale=0.0625))
    anchors = branch(maps_of(64, 64), (64, 64)).anchors
    assert (anchors[:, 2:] > anchors[:, :2]).all()


def test_a_branch_that_moves_keeps_no_anchors() -> None:
    branch = DetectionBranch(CHANNELS, SMALL)
    kept = weakref.ref(branch(maps_of(64, 64), (64, 64)).anchors)
    gc.collect()
    assert kept() is not None, 'they are the same for every image'
    branch.to('cpu')
    gc.collect()
    assert kept() is None


def test_images_of_another_size_get_their_own_anchors() -> None:
    branch = DetectionBranch(CHANNELS, SMALL)
    first = branch(maps_of(64, 96), (64, 96)).anchors
    second = branch(maps_of(96, 64), (96, 64)).anchors
    fresh = DetectionBranch(CHANNELS, SMALL)
    assert torch.equal(second, fresh(maps_of(96, 64), (96, 64)).anchors)
    assert torch.equal(first, branch(maps_of(64, 96), (64, 96)).anchors)


def test_a_new_head_takes_every_anchor_for_improbable() -> None:
    output = DetectionBranch(CHANNELS, DetectionConfig())(maps_of(64, 64), (64, 64))
    assert output.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)


@torch.no_grad()
def test_encoding_and_decoding_are_those_of_torchvision() -> None:
    anchors = torch.rand(200, 4) * 50
    anchors[:, 2:] += anchors[:, :2] + 5
    boxes = torch.rand(200, 4) * 50
    boxes[:, 2:] += boxes[:, :2] + 5
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    deltas = encode_boxes(boxes, anchors)
    torch.testing.assert_close(deltas, coder.encode_single(boxes, anchors))
    torch.testing.assert_close(decode_boxes(deltas, anchors), boxes, atol=1e-3, rtol=1e-4)
    wild = 20 * torch.randn(200, 4)
    expected = coder.decode_single(wild, anchors)
    torch.testing.assert_close(decode_boxes(wild, anchors), expected, atol=1e-2, rtol=1e-5)
    assert decode_boxes(torch.full((1, 4), 1e4), anchors[:1]).isfinite().all()


def test_candidates_are_the_best_of_each_level_within_the_image() -> None:
    config = replace(SMALL, max_candidates=3, min_score=0.4)
    logits = torch.tensor([[3.0, -2.0, 1.0, 2.0, 0.5, -1.0, 4.0]])
    anchors = torch.tensor([[-50.0, -60, 20, 30], [10, 10, 90, 99]]).repeat(4, 1)[:7]
    output = DetectionOutput(logits, torch.zeros(1, 7, 4), anchors, (5, 2))
    boxes, scores = box_candidates(output, config, (64, 48))
    expected = torch.tensor([3.0, 2.0, 1.0, 4.0, -math.inf]).sigmoid()
    torch.testing.assert_close(scores[0], expected)
    assert boxes[0, :, 0].tolist() == [-0.5, 10, -0.5, -0.5, 10]
    assert boxes[0, 1].tolist() == [10, 10, 47.5, 63.5], 'cut at the right and at the bottom'


def test_of_boxes_that_overlap_the_best_stays_and_images_do_not_mix() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20], [1, 0, 11, 20], [30, 0, 40, 20], [0, 0, 10, 20]])
    scores = torch.tensor([[0.6, 0.9, 0.5, 0.0], [0.8, 0.3, 0.0, 0.0]])
    kept, values = suppress(boxes.expand(2, 4, 4), scores, replace(SMALL, max_people=3))
    assert values.shape == (2, 3)
    torch.testing.assert_close(values, torch.tensor([[0.9, 0.5, 0.0], [0.8, 0.0, 0.0]]))
    assert kept[0, 0].tolist() == boxes[1].tolist()
    assert kept[1, 0].tolist() == boxes[0].tolist()


def test_suppression_is_the_slow_loop_over_the_best() -> None:
    boxes = torch.rand(3, 60, 4) * 40
    boxes[..., 2:] += boxes[..., :2] + 2
    scores = torch.rand(3, 60) * (torch.rand(3, 60) > 0.2)
    kept, values = suppress(boxes, scores, replace(SMALL, max_people=7, nms_iou=0.3))
    for i in range(3):
        left: list[int] = []
        for k in scores[i].argsort(descending=True).tolist():
            apart = box_iou(boxes[i, [k]], boxes[i, left]) if left else torch.zeros(1)
            if scores[i, k] > 0 and (apart <= 0.3).all():
                left.append(k)
        torch.testing.assert_close(values[i], scores[i, left[:7]])
        torch.testing.assert_close(kept[i], boxes[i, left[:7]])


@pytest.mark.parametrize('candidates, share', [(60, 0.8), (1500, 0.8), (60, 0.0)])
def test_suppression_in_one_image_is_that_in_a_batch(candidates: int, share: float) -> None:
    boxes = torch.rand(3, candidates, 4) * 90
    boxes[..., 2:] += boxes[..., :2] + 2
    boxes[1] = boxes[1, 0]
    scores = torch.rand(3, candidates) * (torch.rand(3, candidates) < share)
    kept, values = suppress(boxes, scores, SMALL)
    for i in range(3):
        alone, score = suppress(boxes[[i]], scores[[i]], SMALL)
        assert torch.equal(score[0], values[i])
        assert torch.equal(alone[0, score[0] > 0], kept[i, values[i] > 0])


def test_suppression_counts_the_boxes_once(counting: Any) -> None:
    boxes = torch.rand(2, 9, 4).cumsum(-1)
    with counting as counted:
        suppress(boxes, torch.rand(2, 9), SMALL)
    assert counted.num_calls == 1, 'a GPU is waited for each time'


@pytest.mark.parametrize('candidates', [0, 5])
@pytest.mark.parametrize('batch', [0, 1, 2])
def test_an_image_without_boxes_has_nobody(batch: int, candidates: int) -> None:
    nothing = torch.zeros(batch, candidates)
    boxes, scores = suppress(torch.zeros(batch, candidates, 4), nothing, SMALL)
    assert boxes.shape == (batch, candidates, 4)
    assert not scores.any()


@pytest.mark.parametrize(
    'settings, match',
    [
        ({'channels': 0}, 'channels must be at least 1, got 0'),
        ({'num_convs': 0}, 'num_convs must be at least 1, got 0'),
        ({'max_candidates': 0}, 'max_candidates must be at least 1, got 0'),
        ({'max_people': -1}, 'max_people must be at least 1, got -1'),
        ({'norm': 'batch'}, r"norm must be one of \('none', 'group'\), got 'batch'"),
        ({'p6_from': 'c4'}, "p6_from must be 'c5' or 'p5', got 'c4'"),
        ({'min_score': 1.5}, r'min_score must lie in \[0, 1\], got 1.5'),
        ({'nms_iou': float('nan')}, r'nms_iou must lie in \[0, 1\], got nan'),
        ({'anchor_scale': 0.0}, r'anchor_scale must lie in \[0.0625, 8\], got 0.0'),
        ({'anchor_scale': 0.06}, r'anchor_scale must lie in \[0.0625, 8\], got 0.06'),
        ({'anchor_scale': float('nan')}, r'anchor_scale must lie in \[0.0625, 8\], got nan'),
        ({'origin': 'pixel'}, r"origin must be one of \('centre', 'corner'\), got 'pixel'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DetectionConfig(**settings)  # type: ignore[arg-type]
