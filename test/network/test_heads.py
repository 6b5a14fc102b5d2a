"""Tests of :mod:`mtl_perception.network.heads`."""

from mtl_perception.network.heads import build_head
import pytest
import torch


def test_a_classification_head_is_a_linear_layer() -> None:
    head = build_head('classification', 64, 5)
    features = torch.randn(3, 64)
    expected = features @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)
    assert head.bias.count_nonzero() == 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown kind of task 'poetry'; known kinds: \["):
        build_head('poetry', 8, 2)
