"""
The Pose Residual Network gives joints to their owners better than what lies nearest does.

Two stick figures overlap and one of them has a box; of each joint there are two peaks in it.
"""

import math

from mtl_perception.network.pose.association import (
    AssociationConfig,
    INPUT_SIGMA,
    joint_cells,
    joint_maps,
    PoseResidualNetwork,
    TARGET_SIGMA,
)
from mtl_perception.network.pose.decoding import find_poses
from mtl_perception.network.pose.keypoints import find_peaks, HEATMAP_STRIDE, KeypointConfig
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

CONFIG = AssociationConfig(height=28, width=18, hidden=256, dropout=0.0, window=7)
KEYPOINTS = KeypointConfig(max_peaks=4)
SIDE, PAINT_SIGMA = 320, 4.0  # pixels
APART = 0.08  # shares of the sides of the box


def rotated(length: float, angle: Tensor) -> Tensor:
    """Return limbs that hang down at an angle, ``[N, 2]``."""
    return length * torch.stack([angle.sin(), angle.cos()], -1)


def figures(number: int) -> Tensor:
    """Return random poses of stick figures seen from the front or behind, ``[N, 17, 2]``."""
    facing = torch.where(torch.rand(number) < 0.7, 1.0, -1.0) * (0.3 + 0.7 * torch.rand(number))
    across = torch.stack([facing, torch.zeros(number)], -1)
    lean = 0.12 * torch.randn(number)
    neck = -rotated(0.3, lean)
    head = neck - rotated(0.1, lean + 0.2 * torch.randn(number))
    joints = [head]
    joints += [head + shift * across - torch.tensor([0.0, 0.02]) for shift in (0.015, -0.015)]
    joints += [head + shift * across for shift in (0.035, -0.035)]
    arms, legs = [], []
    for sign in (1, -1):
        upper = 0.6 * torch.randn(number)
        shoulder = neck + sign * 0.1 * across
        elbow = shoulder + rotated(0.15, upper)
        arms.append((shoulder, elbow, elbow + rotated(0.14, upper + 0.7 * torch.randn(number))))
        thigh = 0.3 * torch.randn(number)
        hip = sign * 0.07 * across
        knee = hip + rotated(0.24, thigh)
        legs.append((hip, knee, knee + rotated(0.24, thigh + 0.3 * torch.randn(number))))
    for left, right in (*zip(*arms), *zip(*legs)):
        joints += [left, right]
    return torch.stack(joints, 1)


def scenes(number: int) -> tuple[Tensor, Tensor]:
    """Return two people per image, ``[N, 2, 17, 2]``, and the box of the first, pixels."""
    heights = 150 * (0.85 + 0.3 * torch.rand(number, 2, 1, 1))
    people = figures(2 * number).view(number, 2, 17, 2) * heights
    side = torch.where(torch.rand(number) < 0.5, 1.0, -1.0)
    shift = torch.stack([side * (0.1 + 0.25 * torch.rand(number)), 0.1 * torch.randn(number)], -1)
    people[:, 1] += 150 * shift[:, None]
    people += SIDE / 2
    low, high = people[:, 0].amin(1), people[:, 0].amax(1)
    margin = 0.05 * (high - low)
    return people, torch.cat([low - margin, high + margin], -1)


def painted(people: Tensor) -> Tensor:
    """Return the heatmaps of two people per image, ``[N, 17, h, w]``."""
    centres = torch.arange(SIDE // HEATMAP_STRIDE) * HEATMAP_STRIDE + (HEATMAP_STRIDE - 1) / 2
    waves = torch.exp(-(people[..., None] - centres).square() / (2 * PAINT_SIGMA**2))
    return (waves[..., 1, :, None] * waves[..., 0, None, :]).amax(1)


def trained(people: Tensor, boxes: Tensor, epochs: int) -> PoseResidualNetwork:
    """Train as the source does: the joints of all in the box come in, those of its person out."""
    network = PoseResidualNetwork(CONFIG)
    points = people.transpose(1, 2)
    cells, is_inside = joint_cells(points, boxes[:, None, None], CONFIG)
    is_own = torch.tensor([True, False]).expand_as(is_inside)
    # 1.5 times the source's rate, for batches four times as large.
    optimiser = torch.optim.Adam(network.parameters(), 1.5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(people)).split(32):
            maps = joint_maps(cells[rows], is_inside[rows], CONFIG, INPUT_SIGMA)
            targets = joint_maps(cells[rows], is_own[rows], CONFIG, TARGET_SIGMA)
            loss = binary_cross_entropy(network(maps).exp(), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def chosen_by(network: PoseResidualNetwork, people: Tensor, boxes: Tensor) -> Tensor:
    """Return the places of the joints that the person of the box is given, ``[N, 17, 2]``."""
    found = [
        find_poses(painted(p), b[:, None], torch.ones(len(p), 1), network, KEYPOINTS)
        for p, b in zip(people.split(50), boxes.split(50))
    ]
    return torch.cat([part.keypoints[:, 0, :, :2] for part in found])


def nearest(peaks: Tensor, heights: Tensor, boxes: Tensor, places: Tensor) -> Tensor:
    """Return the peaks in the enlarged boxes that are nearest to places in them, 0 to 1."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    relative = (peaks - boxes[:, None, None, :2]) / sides
    _, is_inside = joint_cells(peaks, boxes[:, None, None], CONFIG)
    distances = (relative - places).square().sum(-1)
    best = distances.masked_fill(~is_inside | (heights <= 0), torch.inf).argmin(2)
    return peaks.gather(2, best[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]


@torch.no_grad()
def share_of_owners(found: Tensor, people: Tensor, boxes: Tensor) -> float:
    """Return how many of the ambiguous joints are those of the owner of the box."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    _, is_inside = joint_cells(people, boxes[:, None, None], CONFIG)
    apart = ((people[:, 0] - people[:, 1]) / sides).norm(dim=-1)
    is_ambiguous = is_inside.all(1) & (apart > APART)
    own, other = ((found - people[:, i]).norm(dim=-1).nan_to_num(math.inf) for i in (0, 1))
    return (own < other)[is_ambiguous].float().mean().item()


def test_it_gives_ambiguous_joints_to_their_owner_better_than_the_nearest_does() -> None:
    torch.manual_seed(0)
    people, boxes = scenes(2500)
    network = trained(people, boxes, epochs=12)
    others, their_boxes = scenes(200)
    peaks, heights = find_peaks(
        painted(others), min_score=KEYPOINTS.min_score, max_peaks=KEYPOINTS.max_peaks
    )
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    mean = ((people[:, 0] - low) / (high - low)).mean(0)[:, None]
    with torch.no_grad():
        found = {
            'Pose Residual Network': chosen_by(network, others, their_boxes),
            'untrained': chosen_by(PoseResidualNetwork(CONFIG).eval(), others, their_boxes),
            'nearest to the centre': nearest(peaks, heights, their_boxes, torch.tensor(0.5)),
            'nearest to the mean': nearest(peaks, heights, their_boxes, mean),
        }
    shares = {name: share_of_owners(x, others, their_boxes) for name, x in found.items()}
    print({name: round(share, 3) for name, share in shares.items()})
    best, *priors = shares.values()
    assert best >= 0.94
    assert best >= max(priors) + 0.03


def test_a_heatmap_of_two_people_has_a_peak_at_every_joint_that_lies_apart() -> None:
    torch.manual_seed(1)
    people, _ = scenes(20)
    peaks, heights = find_peaks(painted(people), min_score=0.1, max_peaks=4)
    apart = (people[:, 0] - people[:, 1]).norm(dim=-1) > 4 * PAINT_SIGMA
    for i in (0, 1):
        distances = (peaks - people[:, i, :, None]).norm(dim=-1)
        nearest_ = distances.masked_fill(heights <= 0, torch.inf).amin(2)
        assert nearest_[apart].max().item() == pytest.approx(0, abs=0.5)
