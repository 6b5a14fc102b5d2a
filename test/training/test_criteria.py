"""What the frame tasks are asked to fit, against slow loops and torchvision."""

from dataclasses import replace
import math

from mtl_perception.network.pose.association import AssociationConfig, joint_maps, TARGET_SIGMA
from mtl_perception.network.pose.detection import decode_boxes, DetectionOutput, encode_boxes
from mtl_perception.network.pose.keypoints import KeypointOutput
from mtl_perception.network.pose.skeleton import FLIPPED
from mtl_training.criteria.activity import ActivityCriterion
from mtl_training.criteria.association import (
    as_peaks,
    association_inputs,
    AssociationCriterion,
    counted,
    own_cells,
)
from mtl_training.criteria.detection import (
    DELTA_UNITS,
    DetectionCriterion,
    focal_loss,
    match_anchors,
)
from mtl_training.criteria.keypoints import heatmap_targets, KeypointCriterion
from mtl_training.data.frame_sample import FrameBatch
from mtl_training.regimes import build_regime
import pytest
import torch
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou, sigmoid_focal_loss


def batch_of(boxes, keypoints=None, *, crowd=(), person=None, activities=None) -> FrameBatch:
    """Return a batch of 64 x 96 images: boxes [B, P, 4], keypoints [B, P, 17, 3]."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    count, people = boxes.shape[:2]
    is_crowd = torch.zeros(count, people, dtype=torch.bool)
    for place in crowd:
        is_crowd[place] = True
    if keypoints is None:
        keypoints = torch.zeros(count, people, 17, 3)
    if activities is None:
        activities = torch.full((count, people), -1)
    return FrameBatch(
        images=torch.zeros(count, 1, 64, 96, 3, dtype=torch.uint8),
        boxes=boxes[:, :, None],
        keypoints=keypoints[:, :, None],
        areas=torch.ones(count, people, 1),
        activities=torch.as_tensor(activities),
        is_crowd=is_crowd,
        is_person=~is_crowd if person is None else torch.as_tensor(person),
        masks=torch.ones(count, 16, 24, dtype=torch.bool),
        transforms=torch.eye(2, 3).expand(count, 2, 3),
        sizes=torch.tensor([[64, 96]] * count),
        image_ids=torch.arange(count),
        indices=torch.arange(count),
    )


def random_boxes(count: int, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([low, low + 4 + 30 * torch.rand(count, 2, generator=generator)], 1)


# -- Detection -------------------------------------------------------------------------------


def test_without_gamma_the_focal_loss_is_half_of_the_cross_entropy() -> None:
    logits, targets = torch.randn(50), (torch.rand(50) > 0.5).float()
    expected = 0.5 * binary_cross_entropy_with_logits(logits, targets, reduction='none')
    torch.testing.assert_close(focal_loss(logits, targets, alpha=0.5, gamma=0.0), expected)


@pytest.mark.parametrize('alpha', [0.25, 0.6])
@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_the_focal_loss_is_that_of_torchvision(alpha: float, gamma: float) -> None:
    logits, targets = 3 * torch.randn(200), (torch.rand(200) > 0.5).float()
    expected = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    torch.testing.assert_close(focal_loss(logits, targets, alpha=alpha, gamma=gamma), expected)


@pytest.mark.parametrize('seed', range(4))
def test_anchors_are_matched_as_torchvision_matches_them(seed: int) -> None:
    anchors, boxes = random_boxes(300, seed=seed), random_boxes(5, seed=100 + seed)
    everybody = torch.ones(1, 5, dtype=torch.bool)
    person, positive, negative = match_anchors(anchors, boxes[None], everybody, ~everybody)
    overlaps = box_iou(boxes, anchors)
    expected = Matcher(0.5, 0.4, allow_low_quality_matches=True)(overlaps)
    assert torch.equal(positive[0], expected >= 0)
    assert torch.equal(negative[0], expected == Matcher.BELOW_LOW_THRESHOLD)
    best_of_somebody = (overlaps == overlaps.amax(1, keepdim=True)).any(0)
    plain = positive[0] & ~best_of_somebody
    assert torch.equal(person[0][plain], expected[plain])
    # Unlike there, somebody's best anchor is theirs even if it suits another better.
    for anchor in best_of_somebody.nonzero()[:, 0].tolist():
        assert overlaps[person[0, anchor], anchor] == overlaps[person[0, anchor]].max()


def test_anchors_are_matched_as_a_slow_loop_matches_them() -> None:
    anchors, boxes = random_boxes(200, seed=7), random_boxes(3, seed=8)
    everybody = torch.ones(1, 3, dtype=torch.bool)
    _, positive, negative = match_anchors(anchors, boxes[None], everybody, ~everybody)
    overlaps = box_iou(anchors, boxes).tolist()
    best_of = [max(range(200), key=lambda a, p=p: overlaps[a][p]) for p in range(3)]
    for anchor, row in enumerate(overlaps):
        assert positive[0, anchor] == (max(row) >= 0.5 or anchor in best_of)
        assert negative[0, anchor] == (max(row) < 0.4 and anchor not in best_of)


def test_padding_and_crowds_are_nobody_and_anchors_in_a_crowd_count_neither_way() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10], [60, 0, 90, 30], [88, 0, 98, 10]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [35, 0, 60, 20], [0, 0, 0, 0], [62, 0, 90, 30]]])
    is_person = torch.tensor([[True, False, False, False]])
    is_crowd = torch.tensor([[False, True, False, False]])
    _, positive, negative = match_anchors(anchors, boxes, is_person, is_crowd)
    assert positive.tolist() == [[True, False, False, False]]
    assert negative.tolist() == [[False, False, True, True]]


def outputs_of(anchors: torch.Tensor, count: int = 1) -> DetectionOutput:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(count, len(anchors), generator=generator)
    deltas = torch.randn(count, len(anchors), 4, generator=generator) / 10
    return DetectionOutput(logits, deltas, anchors, (len(anchors),))


def test_the_loss_of_boxes_is_that_of_torchvisions_parts() -> None:
    anchors, boxes = random_boxes(300, seed=3), random_boxes(2, seed=4)
    outputs = outputs_of(anchors)
    loss = DetectionCriterion()(outputs, batch_of(boxes[None]))
    everybody = torch.ones(1, 2, dtype=torch.bool)
    person, positive, negative = match_anchors(anchors, boxes[None], everybody, ~everybody)
    chosen = positive[0] | negative[0]
    focal = sigmoid_focal_loss(
        outputs.logits[0, chosen], positive[0, chosen].float(), reduction='sum'
    )
    hits = positive[0]
    (wanted,) = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode([boxes[person[0, hits]]], [anchors[hits]])
    distance = (outputs.deltas[0, hits] / torch.tensor(DELTA_UNITS) - wanted).abs()
    beta = 1 / 9
    smooth = torch.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2).sum()
    torch.testing.assert_close(loss, ((focal + smooth) / hits.sum())[None, None])


def test_images_without_people_have_a_loss_of_their_false_alarms_alone() -> None:
    outputs = outputs_of(random_boxes(30, seed=1), 2)
    expected = sigmoid_focal_loss(outputs.logits, torch.zeros(2, 30)).sum(1)[None]
    for boxes in (torch.zeros(2, 0, 4), torch.zeros(2, 3, 4)):
        nobody = torch.zeros(boxes.shape[:2], dtype=torch.bool)
        batch = batch_of(boxes, person=nobody)
        torch.testing.assert_close(DetectionCriterion()(outputs, batch), expected)
        assert DetectionCriterion().fit(outputs, batch) == 0


def test_recall_is_the_share_of_people_with_a_sure_anchor() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10]])
    outputs = outputs_of(anchors)._replace(logits=torch.tensor([[2.0, -2.0]]))
    assert DetectionCriterion().fit(outputs, batch_of(anchors[None])) == 0.5


def test_boxes_are_encoded_as_torchvision_does_and_decoded_again() -> None:
    anchors, boxes = random_boxes(40, seed=1), random_boxes(40, seed=2)
    (expected,) = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode([boxes], [anchors])
    deltas = encode_boxes(boxes, anchors)
    torch.testing.assert_close(deltas, expected)
    torch.testing.assert_close(decode_boxes(deltas, anchors), boxes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'alpha': 1.0}, 'alpha must lie between 0 and 1, got 1.0'),
        ({'gamma': -1.0}, 'gamma must not be negative, got -1.0'),
        ({'beta': 0.0}, 'beta must be positive, got 0.0'),
    ],
)
def test_settings_of_detection_are_checked(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DetectionCriterion(**settings)


# -- Keypoints -------------------------------------------------------------------------------


def joints_at(*places) -> torch.Tensor:
    """Return people of one visible joint each, the first, ``[1, P, 17, 3]``."""
    joints = torch.zeros(1, len(places), 17, 3)
    for person, (x, y) in enumerate(places):
        joints[0, person, 0] = torch.tensor([x, y, 2.0])
    return joints


def test_heatmaps_are_those_of_a_slow_loop() -> None:
    joints = joints_at((20.0, 30.0), (50.0, 8.0), (52.0, 12.0), (95.0, 63.0))
    sigma = 5.0
    maps = heatmap_targets(joints, (16, 24), sigma)[0]
    for row in range(16):
        for column in range(24):
            x, y = 4 * column + 1.5, 4 * row + 1.5
            exponents = [
                ((px - x) ** 2 + (py - y) ** 2) / (2 * sigma**2)
                for px, py, _ in joints[0, :, 0].tolist()
            ]
            value = max(math.exp(-e) if e <= 4.6052 else 0.0 for e in exponents)
            assert maps[0, row, column].item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize('offset', [(0.0, 0.0), (2.0, 2.0), (-2.0, 1.0)], ids=str)
def test_a_heatmap_is_high_at_its_joint_and_zero_far_from_it(offset) -> None:
    x, y = 49.5 + offset[0], 29.5 + offset[1]
    maps = heatmap_targets(joints_at((x, y)), (16, 24), 7.0)[0, 0]
    assert maps[7, 12] >= 0.92
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing='ij')
    distance = torch.hypot(4 * columns + 1.5 - x, 4 * rows + 1.5 - y)
    assert maps[distance > 3.04 * 7.0].max() == 0
    assert maps[distance < 3.0 * 7.0].min() >= 0.01


def test_two_people_make_two_maxima_and_the_background_what_they_lack_to_one() -> None:
    maps = heatmap_targets(joints_at((21.5, 29.5), (61.5, 29.5)), (16, 24), 7.0)[0]
    assert maps[0, 7, 5] == maps[0, 7, 15] == 1
    assert maps[0, 7, 10] < 0.3
    torch.testing.assert_close(maps[:17].amax(0) + maps[17], torch.ones(16, 24))


def test_unknown_joints_and_nobody_leave_only_background() -> None:
    unknown = joints_at((20.0, 20.0))
    unknown[..., 2] = 0
    for joints in (unknown, torch.zeros(1, 0, 17, 3)):
        maps = heatmap_targets(joints, (16, 24), 7.0)
        assert maps[:, :17].max() == 0
        assert maps[:, 17].min() == 1


def keypoint_outputs() -> KeypointOutput:
    maps = [torch.rand(1, 18, 16, 24, requires_grad=True) for _ in range(5)]
    return KeypointOutput(maps[0], tuple(maps[1:]))


def test_people_outside_the_mask_do_not_change_the_loss_of_keypoints() -> None:
    outputs, criterion = keypoint_outputs(), KeypointCriterion(sigma=3.0)
    left, both = joints_at((20.0, 30.0)), joints_at((20.0, 30.0), (80.0, 30.0))
    # The same number of joints: the loss is divided by it.
    elsewhere = joints_at((20.0, 30.0), (84.0, 50.0))
    losses = []
    for joints in (both, elsewhere):
        batch = batch_of(torch.zeros(1, 2, 4), joints)
        mask = batch.masks.clone()
        mask[:, :, 14:] = False
        losses.append(criterion(outputs, batch._replace(masks=mask)))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    whole = criterion(outputs, batch_of(torch.zeros(1, 2, 4), both))
    assert whole > losses[0]
    assert criterion(outputs, batch_of(torch.zeros(1, 1, 4), left)).shape == (1, 1)


def test_the_final_and_all_intermediate_heatmaps_receive_gradient() -> None:
    outputs = keypoint_outputs()
    KeypointCriterion()(
        outputs, batch_of(torch.zeros(1, 1, 4), joints_at((9.0, 9.0)))
    ).sum().backward()
    for maps in (outputs.heatmaps, *outputs.intermediate):
        assert maps.grad.abs().sum() > 0


def test_perfect_heatmaps_cost_nothing_and_show_all_joints() -> None:
    joints = joints_at((20.0, 30.0), (70.0, 30.0))
    maps = heatmap_targets(joints, (16, 24), 7.0)
    batch = batch_of(torch.zeros(1, 2, 4), joints)
    assert KeypointCriterion()(KeypointOutput(maps, (maps,)), batch) == 0
    assert KeypointCriterion().fit(KeypointOutput(maps, ()), batch) == 1
    assert KeypointCriterion().fit(KeypointOutput(0 * maps, ()), batch) == 0


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'sigma': 0.0}, 'sigma must be positive, got 0.0'),
        ({'intermediate': -1.0}, 'intermediate must not be negative, got -1.0'),
    ],
)
def test_settings_of_keypoints_are_checked(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointCriterion(**settings)


# -- Association -----------------------------------------------------------------------------

GRID = AssociationConfig(height=14, width=9, hidden=8, window=5, dropout=0.0)


def two_people() -> FrameBatch:
    """Return two people side by side whose boxes overlap, and padding."""
    generator = torch.Generator().manual_seed(5)
    boxes = torch.tensor([[[10.0, 5, 40, 60], [30.0, 5, 60, 60], [0, 0, 0, 0]]])
    places = torch.rand(1, 3, 17, 2, generator=generator)
    joints = torch.ones(1, 3, 17, 3) * 2
    joints[..., :2] = boxes[:, :, None, :2] + places * (
        boxes[:, :, None, 2:] - boxes[:, :, None, :2]
    )
    joints[:, 2] = 0
    return batch_of(boxes, joints, person=[[True, True, False]])


def test_targets_are_the_own_joints_and_inputs_those_of_everybody() -> None:
    batch = two_people()
    cells, is_inside = own_cells(batch, GRID)
    inputs = association_inputs(batch, GRID)
    ones = joint_maps(cells, is_inside, GRID, 1.0)
    own_row = cells.flatten(1)
    assert own_row.shape == (3, 17)
    # All of one's own joints are in the input, and others' too.
    assert (inputs - ones).min() > -1e-6
    assert (inputs[:2].flatten(2) > ones[:2].flatten(2) + 1e-3).any()
    alone = two_people()
    keypoints = alone.keypoints.clone()
    keypoints[:, 1] = 0
    alone = alone._replace(keypoints=keypoints)
    torch.testing.assert_close(association_inputs(alone, GRID)[0], ones[0])


def test_confused_joints_are_also_seen_at_their_mirror_images() -> None:
    torch.manual_seed(0)
    places = torch.rand(2, 500, 17, 2) * 100
    annotated = (torch.rand(2, 500, 17) < 0.9).float()
    sides = torch.full((2, 500, 1, 2), 100.0)
    noisy, heights = as_peaks(places, annotated, sides, 0.5)
    assert noisy.shape == (2, 1000, 17, 2)
    assert heights.shape == (2, 1000, 17)
    own, other = heights.split(500, dim=1)
    flipped = list(FLIPPED)
    # Each is near the place that it is said to be of.
    assert (noisy[:, :500] - places).abs().max() < 6
    assert (noisy[:, 500:] - places[..., flipped, :]).abs().max() < 6
    # What is not annotated is seen nowhere, the rest nearly always.
    assert not own[annotated == 0].any()
    assert not other[annotated[..., flipped] == 0].any()
    assert (own[annotated > 0] > 0).float().mean().item() == pytest.approx(0.97, abs=0.01)
    both = (own > 0) & (other > 0)
    known = (own > 0) & (annotated[..., flipped] > 0)
    assert (both & known).sum() / known.sum() == pytest.approx(0.5 * 0.97, abs=0.03)
    assert (own > other)[both].float().mean().item() == pytest.approx(0.75, abs=0.05)
    # Some people are confused more than others.
    rates = both.float().mean(2).flatten()
    assert rates.std() > 2 * (0.25 / 17) ** 0.5


def test_inputs_vary_only_where_they_are_asked_to() -> None:
    batch = two_people()
    sure, unsure = GRID, replace(GRID, confusion=0.5)
    expected = association_inputs(batch, sure)
    torch.testing.assert_close(association_inputs(batch, unsure), expected)
    torch.testing.assert_close(association_inputs(batch, sure, varies=True), expected)
    varied = association_inputs(batch, unsure, varies=True)
    assert (varied - expected).abs().max() > 0.01
    assert (association_inputs(batch, unsure, varies=True) - varied).abs().max() > 0.01


def test_those_of_few_joints_crowds_and_padding_teach_nothing() -> None:
    batch = two_people()
    keypoints = batch.keypoints.clone()
    keypoints[0, 1, 0, 3:, 2] = 0
    assert counted(batch).tolist() == [[True, True, False]]
    assert counted(batch._replace(keypoints=keypoints)).tolist() == [[True, False, False]]
    crowd = torch.tensor([[True, False, False]])
    assert counted(batch._replace(is_person=crowd)).tolist() == [[True, False, False]]


def test_the_loss_of_association_is_a_cross_entropy_of_cells() -> None:
    batch = two_people()
    log_outputs = torch.randn(3, 17, 14, 9).flatten(2).log_softmax(2).view(3, 17, 14, 9)
    targets = joint_maps(*own_cells(batch, GRID), GRID, TARGET_SIGMA)
    cells = GRID.height * GRID.width
    expected = [
        binary_cross_entropy(log_outputs[person].exp(), targets[person]) * cells
        for person in range(2)
    ]
    loss = AssociationCriterion(GRID)(log_outputs, batch)
    torch.testing.assert_close(loss, ((expected[0] + expected[1]) / 2)[None, None])


def test_the_figure_of_association_is_what_lies_around_the_own_joints() -> None:
    batch = two_people()
    cells, _ = own_cells(batch, GRID)
    perfect = torch.zeros(3, 17, 14 * 9).scatter(2, cells, 1.0).clamp_min(1e-30).log()
    assert AssociationCriterion(GRID).fit(perfect.view(3, 17, 14, 9), batch) == pytest.approx(1)


# -- Activity --------------------------------------------------------------------------------


def test_the_loss_of_activities_is_the_mean_over_the_known_people_of_each_image() -> None:
    joints = torch.ones(2, 3, 17, 3)
    joints[0, 2] = 0  # not a joint is known
    activities = [[1, 0, 1], [2, -1, 0]]
    person = [[True, True, True], [True, True, False]]
    batch = batch_of(torch.zeros(2, 3, 4), joints, activities=activities, person=person)
    outputs = torch.randn(3, 4, requires_grad=True)
    losses = [-outputs[i].log_softmax(0)[label] for i, label in enumerate((1, 0, 2))]
    expected = torch.stack([(losses[0] + losses[1]) / 2, losses[2]])[None]
    loss = ActivityCriterion()(outputs, batch)
    torch.testing.assert_close(loss, expected)
    sure = torch.eye(4)[[1, 0, 3]]
    assert ActivityCriterion().fit(sure, batch) == pytest.approx(2 / 3)


def test_nobody_of_known_activity_costs_nothing_but_has_a_gradient() -> None:
    batch = batch_of(torch.zeros(2, 0, 4))
    outputs = torch.zeros(0, 4, requires_grad=True)
    loss = ActivityCriterion()(outputs, batch)
    assert loss.tolist() == [[0, 0]]
    loss.sum().backward()
    assert outputs.grad.shape == (0, 4)
    assert ActivityCriterion().fit(outputs, batch) == 0


def test_the_smoothing_of_activities_is_checked() -> None:
    with pytest.raises(ValueError, match=r'label_smoothing must be in \[0, 1\), got 1'):
        ActivityCriterion(label_smoothing=1.0)


def test_weightings_are_told_that_heatmaps_are_a_regression() -> None:
    criteria = {'keypoints': KeypointCriterion(), 'activity': ActivityCriterion()}
    heatmaps = KeypointOutput(torch.zeros(1, 18, 16, 24), ())
    outputs = {'keypoints': heatmaps, 'activity': torch.zeros(0, 4)}
    batch = batch_of([[[8, 8, 40, 40]]])
    regime = build_regime('joint', list(criteria), criteria)
    losses, _ = regime.losses(lambda _: outputs, dict.fromkeys(criteria, batch))
    kinds = {task: loss.kind for task, loss in losses.items()}
    assert kinds == {'keypoints': 'regression', 'activity': 'classification'}
