"""Tests of :mod:`mtl_perception.network.pose.decoding`: from heatmaps and boxes to people."""

from dataclasses import replace
from typing import Any

from mtl_perception.network.pose.association import AssociationConfig, PoseResidualNetwork
from mtl_perception.network.pose.decoding import find_poses, gather_poses, People
from mtl_perception.network.pose.keypoints import KeypointConfig
import pytest
import torch
from torch import Tensor

KEYPOINTS = KeypointConfig(max_peaks=6)
ASSOCIATION = AssociationConfig(height=14, width=9, hidden=16, window=5)


@pytest.fixture(params=[0.0, 0.5], ids=['sure', 'confused'])
def network(request: pytest.FixtureRequest) -> PoseResidualNetwork:
    return PoseResidualNetwork(replace(ASSOCIATION, confusion=request.param)).eval()


def random_input(batch: int = 3, people: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return heatmaps with many peaks, boxes that overlap, and scores of which some are 0."""
    heatmaps = torch.rand(batch, 18, 20, 24)
    boxes = torch.rand(batch, people, 4) * 50
    boxes[..., 2:] += boxes[..., :2] + 15
    scores = torch.rand(batch, people)
    scores[:, -1] = 0
    return heatmaps, boxes, scores


def same(found: People, expected: People) -> None:
    for part, value in zip(found, expected):
        torch.testing.assert_close(part, value, equal_nan=True, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_batch_of_images_is_its_images_one_by_one(network: PoseResidualNetwork) -> None:
    given = random_input()
    together = find_poses(*given, network, KEYPOINTS)
    alone = [
        find_poses(*(part[i : i + 1] for part in given), network, KEYPOINTS) for i in range(3)
    ]
    same(together, People(*(torch.cat(parts) for parts in zip(*alone))))


@torch.no_grad()
def test_people_far_apart_are_found_as_if_alone(network: PoseResidualNetwork) -> None:
    heatmaps, _, _ = random_input(1)
    boxes = torch.tensor([[[0.0, 0, 25, 60], [60, 10, 90, 70]]])
    scores = torch.tensor([[0.9, 0.8]])
    together = find_poses(heatmaps, boxes, scores, network, KEYPOINTS)
    alone = [
        find_poses(heatmaps, boxes[:, [i]], scores[:, [i]], network, KEYPOINTS) for i in (0, 1)
    ]
    same(together, People(*(torch.cat(parts, 1) for parts in zip(*alone))))


@torch.no_grad()
def test_padding_gets_no_joint_and_takes_none_from_people(network: PoseResidualNetwork) -> None:
    heatmaps, boxes, scores = random_input()
    boxes[:, -1] = boxes[:, 0]
    found = find_poses(heatmaps, boxes, scores, network, KEYPOINTS)
    assert found.keypoints[:, -1, :, :2].isnan().all()
    assert not found.keypoints[:, -1, :, 2].any()
    assert not found.pose_scores[:, -1].any()
    assert found.is_found.tolist() == [[True, True, True, False]] * 3
    without = find_poses(heatmaps, boxes[:, :-1], scores[:, :-1], network, KEYPOINTS)
    same(People(*(part[:, :-1] for part in found)), without)


@torch.no_grad()
def test_each_peak_is_used_once_per_joint_and_lies_in_the_enlarged_box(
    network: PoseResidualNetwork,
) -> None:
    heatmaps, boxes, scores = random_input(people=6)
    found = find_poses(heatmaps, boxes, scores, network, KEYPOINTS)
    assert (found.keypoints[..., 2] > 0).sum() > 50, 'there must be joints to check'
    margin = 0.21 * (boxes[..., 2:] - boxes[..., :2])
    low, high = boxes[..., :2] - margin, boxes[..., 2:] + margin
    for i in range(3):
        for joint in range(17):
            places = found.keypoints[i, :, joint]
            places = places[places[:, 2] > 0, :2]
            assert len(places.unique(dim=0)) == len(places)
    places = found.keypoints[..., :2]
    is_outside = ((places < low[:, :, None]) | (places > high[:, :, None])).any(-1)
    assert not is_outside.any(), 'NaN compares as False'


@torch.no_grad()
def test_the_score_of_a_pose_is_that_of_the_box_times_the_mean_of_all_joints(
    network: PoseResidualNetwork,
) -> None:
    found = find_poses(*random_input(), network, KEYPOINTS)
    is_missing = found.keypoints[..., 2] == 0
    assert torch.equal(is_missing, found.keypoints[..., :2].isnan().all(-1))
    expected = found.box_scores * found.keypoints[..., 2].sum(-1) / 17
    torch.testing.assert_close(found.pose_scores, expected)


@torch.no_grad()
def test_the_places_are_those_of_the_peaks_that_were_chosen() -> None:
    peaks, heights = torch.rand(2, 17, 4, 2), 1.3 * torch.rand(2, 17, 4)
    chosen = torch.randint(-1, 4, (2, 3, 17))
    found = gather_poses(peaks, heights, chosen, torch.rand(2, 3, 4), torch.rand(2, 3))
    for b in range(2):
        for n in range(3):
            for j in range(17):
                x, y, score = found.keypoints[b, n, j]
                if (k := chosen[b, n, j]) < 0:
                    assert x.isnan() and y.isnan() and score == 0  # noqa: PT018
                else:
                    assert torch.equal(torch.stack([x, y]), peaks[b, j, k])
                    assert score == heights[b, j, k].clamp_max(1), 'a score is no more than 1'


@torch.no_grad()
@pytest.mark.parametrize('batch, people', [(2, 0), (0, 3)])
def test_without_people_nothing_is_found(
    batch: int, people: int, network: PoseResidualNetwork
) -> None:
    heatmaps, boxes = torch.rand(batch, 18, 8, 8), torch.rand(batch, people, 4)
    scores = torch.rand(batch, people)
    found = find_poses(heatmaps, boxes, scores, network, KEYPOINTS)
    assert found.keypoints.shape == (batch, people, 17, 3)


@torch.no_grad()
@pytest.mark.parametrize('batch, people', [(3, 4), (2, 0), (0, 3)])
def test_padding_may_be_computed_like_people(
    batch: int, people: int, network: PoseResidualNetwork
) -> None:
    heatmaps, boxes = torch.rand(batch, 18, 20, 24), torch.rand(batch, people, 4).cumsum(-1) * 20
    scores = torch.rand(batch, people) * (torch.rand(batch, people) > 0.4)
    same(
        find_poses(heatmaps, boxes, scores, network, KEYPOINTS, skips_padding=False),
        find_poses(heatmaps, boxes, scores, network, KEYPOINTS, skips_padding=True),
    )


@torch.no_grad()
@pytest.mark.parametrize('peaks', [0, 1, 2])
def test_peaks_that_are_not_there_may_be_computed_like_others(
    peaks: int, network: PoseResidualNetwork
) -> None:
    _, boxes, scores = random_input()
    heatmaps = torch.zeros(3, 18, 20, 24)
    heatmaps[:, 3, 5, 4 : 4 + 3 * peaks : 3] = 0.6  # all of the same height
    found = find_poses(heatmaps, boxes, scores, network, KEYPOINTS, skips_padding=True)
    same(found, find_poses(heatmaps, boxes, scores, network, KEYPOINTS, skips_padding=False))


@torch.no_grad()
@pytest.mark.parametrize('skips_padding', [True, False])
def test_people_are_counted_only_to_skip_padding(
    network: PoseResidualNetwork, counting: Any, skips_padding: bool
) -> None:
    given = random_input()
    with counting as counted:
        find_poses(*given, network, KEYPOINTS, skips_padding=skips_padding)
    assert counted.num_calls == int(skips_padding)


@torch.no_grad()
@pytest.mark.parametrize('skips_padding', [True, False])
def test_a_network_that_says_no_number_is_not_taken_for_one_that_finds_no_joint(
    network: PoseResidualNetwork, skips_padding: bool
) -> None:
    network.layers[-2].bias[0] = torch.nan
    given = random_input()
    found = find_poses(*given, network, KEYPOINTS, skips_padding=skips_padding)
    assert found.pose_scores[:, :-1].isnan().all()


@torch.no_grad()
def test_half_precision_finds_people(network: PoseResidualNetwork) -> None:
    heatmaps, boxes, scores = random_input()
    found = find_poses(heatmaps.bfloat16(), boxes, scores, network.bfloat16(), KEYPOINTS)
    assert found.keypoints.dtype == torch.float32
    assert found.pose_scores[:, :-1].min() > 0
