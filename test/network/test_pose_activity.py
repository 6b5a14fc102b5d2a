"""Tests of :mod:`mtl_perception.network.pose.activity`."""

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_perception.network.pose.activity import (
    ActivityClassifier,
    ActivityConfig,
    normalised_poses,
    REACH,
)
from mtl_perception.network.pose.skeleton import FLIPPED
import pytest
import torch
from torch import nn, Tensor

BOXES = torch.tensor([[10.0, 20, 50, 120], [100, 40, 160, 90]])


def poses(history: int = 1) -> Tensor:
    """Return poses within :data:`BOXES`, some of whose joints are missing, ``[2, T, 17, 3]``."""
    keypoints = torch.rand(2, history, 17, 3) + 0.1
    low, high = BOXES[:, None, None, :2], BOXES[:, None, None, 2:]
    keypoints[..., :2] = low + (high - low) * torch.rand(2, history, 17, 2)
    keypoints[:, :, 3] = torch.tensor([torch.nan, torch.nan, 0.0])
    keypoints[:, :, 7, 2] = 0.0
    return keypoints


@settings(deadline=None, max_examples=40)
@given(
    scale=st.floats(0.1, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    history=st.sampled_from([1, 3]),
)
def test_where_and_how_large_a_person_is_does_not_count(
    scale: float, shift: tuple[float, float], history: int
) -> None:
    keypoints = poses(history)
    moved = keypoints.clone()
    moved[..., :2] = moved[..., :2] * scale + torch.tensor(shift)
    boxes = BOXES * scale + torch.tensor([*shift, *shift])
    expected = normalised_poses(keypoints, BOXES, history=history)
    found = normalised_poses(moved, boxes, history=history)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize('history', [1, 3])
def test_coordinates_are_shares_of_the_box_from_the_oldest_pose_to_the_newest(
    history: int,
) -> None:
    keypoints = poses(history)
    found = normalised_poses(keypoints, BOXES, history=history)
    assert found.shape == (2, history * 34)
    for n in range(2):
        left, top, right, bottom = BOXES[n].tolist()
        for t in range(history):
            for j in range(17):
                x, y, score = keypoints[n, t, j].tolist()
                x, y = (x - left) / (right - left), (y - top) / (bottom - top)
                expected = [x, y] if score > 0 else [0.0, 0.0]
                start = t * 34 + 2 * j
                assert found[n, start : start + 2].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('history, lowest, highest', [(1, 0, 1), (2, -REACH, 1 + REACH)])
def test_what_lies_outside_is_clipped(history: int, lowest: float, highest: float) -> None:
    keypoints = torch.ones(2, history, 17, 3)
    keypoints[..., 0], keypoints[..., 1] = -1e4, 1e4
    found = normalised_poses(keypoints, BOXES, history=history).view(2, history, 17, 2)
    assert (found[..., 0] == lowest).all()
    assert (found[..., 1] == highest).all()


def test_flipping_a_person_twice_changes_nothing() -> None:
    keypoints = poses()

    def flip(points: Tensor) -> Tensor:
        mirrored = points[:, :, list(FLIPPED)].clone()
        mirrored[..., 0] = BOXES[:, None, None, 0] + BOXES[:, None, None, 2] - mirrored[..., 0]
        return mirrored

    once = normalised_poses(flip(keypoints), BOXES, history=1)
    expected = normalised_poses(keypoints, BOXES, history=1)
    assert not torch.allclose(once, expected)
    twice = normalised_poses(flip(flip(keypoints)), BOXES, history=1)
    torch.testing.assert_close(twice, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('box', [[5.0, 5, 5, 5], [9, 9, 3, 3]])
def test_a_box_without_a_size_gives_finite_numbers(box: list[float]) -> None:
    found = normalised_poses(poses()[:1], torch.tensor([box]), history=1)
    assert found.isfinite().all()
    assert ((found >= 0) & (found <= 1)).all()


def test_it_has_the_layers_of_the_source_in_their_order() -> None:
    layers = list(ActivityClassifier(ActivityConfig(), 4).layers)
    dense = [nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout]
    assert [type(layer) for layer in layers] == [*dense, *dense, nn.Linear]
    sizes = [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)]
    assert sizes == [(3072, 34), (128, 3072), (4, 128)]
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.3}


@pytest.mark.parametrize('history', [1, 5])
def test_logits_have_a_column_per_label_and_the_gradient_reaches_all(history: int) -> None:
    network = ActivityClassifier(ActivityConfig(hidden=(8, 6), history=history), 3)
    logits = network(torch.rand(7, 34 * history))
    assert logits.shape == (7, 3)
    logits[:, 1].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    'settings_, match',
    [
        ({'hidden': (3072, 0)}, r'hidden must be positive, got \(3072, 0\)'),
        ({'dropout': -0.1}, r'dropout must lie in \[0, 1\), got -0.1'),
        ({'normalise': 'none'}, r"normalise must be one of \('box', 'image'\), got 'none'"),
        ({'history': 0}, 'history must be from 1 to 256, got 0'),
        ({'history_seconds': 0.0}, 'history_seconds must be positive, got 0.0'),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ActivityConfig(**settings_)  # type: ignore[arg-type]
