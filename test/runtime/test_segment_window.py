"""Moments of windows: by hand, and against the windows that a network is trained on."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GraphConfig,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
from mtl_perception.runtime.feature_memory import FeatureMemory
from mtl_perception.runtime.segment_window import SECOND, segment_window
from mtl_training.data.segments.sampling import even_rows, interpolated
import numpy as np
import pytest
import torch

STRIDE = 0.5


def offsets_of(settings: Any, num_features: int = 3) -> list[float]:
    graph = GraphConfig(feature_dim=1, num_features=num_features, stride_seconds=STRIDE)
    window = segment_window(settings, graph)
    assert window.offsets_ns.dtype == np.int64
    return (window.offsets_ns / SECOND).tolist()


def test_two_actions_take_their_features_from_start_to_end() -> None:
    # Features every half second: an action of two seconds has those at 0, 0.5, 1 and 1.5.
    found = offsets_of(AnticipationConfig(num_inputs=2, seconds=4.0), num_features=4)
    assert found == [-3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0]


def test_a_change_is_one_interval() -> None:
    found = offsets_of(StateChangeConfig(num_nodes=2, seconds=6.0))
    np.testing.assert_allclose(found, np.linspace(-5.5, 0, 6), atol=1e-9)


def test_nodes_of_a_point_of_no_return_stand_for_their_beginning() -> None:
    assert offsets_of(PointOfNoReturnConfig(num_nodes=4, seconds=8.0)) == [-6.0, -4.0, -2.0, 0.0]


@pytest.mark.parametrize('seconds', [0.3, 0.9])
def test_actions_shorter_than_a_stride_have_one_moment(seconds: float) -> None:
    found = offsets_of(RecognitionConfig(num_nodes=3, seconds=seconds))
    expected = np.repeat([-2 * seconds / 3, -seconds / 3, 0.0], 3)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(
    kind=st.sampled_from(['recognition', 'anticipation', 'state_change']),
    num_nodes=st.sampled_from([1, 3, 5]),
    num_features=st.integers(1, 5),
    length=st.integers(1, 7),
)
def test_windows_are_those_of_training(
    kind: str, num_nodes: int, num_features: int, length: int
) -> None:
    settings: Any
    seconds = num_nodes * length * STRIDE
    if kind == 'recognition':
        settings = RecognitionConfig(num_nodes=num_nodes, seconds=seconds)
    elif kind == 'anticipation':
        settings = AnticipationConfig(num_inputs=num_nodes, seconds=seconds)
    else:
        settings = StateChangeConfig(num_nodes=num_nodes, seconds=seconds)
    graph = GraphConfig(feature_dim=1, num_features=num_features, stride_seconds=STRIDE)
    window = segment_window(settings, graph)
    rows = num_nodes * length
    # The trainer's rows of features that follow each other at the same stride.
    if kind == 'state_change':
        expected = even_rows(np.array([0]), np.array([rows]), num_nodes * num_features)
    else:
        first = np.arange(num_nodes) * length
        expected = even_rows(first, first + length, num_features)
    memory = FeatureMemory(1, window.span_ns, 1)
    for row in range(rows):
        stamp_ns = row * SECOND // 2
        memory.append(torch.zeros(1), stamp_ns=stamp_ns, start_ns=row)
    skipped = rows - len(memory)
    found = memory.nearest(window.offsets_ns) + skipped
    if num_features == 1:
        # A window ends with its newest feature: in training it goes on to the end of the action.
        expected = expected + (rows - 1 - expected.max())
    np.testing.assert_array_equal(found, expected.reshape(-1))


def test_points_between_features_are_those_of_training() -> None:
    features = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    settings = PointOfNoReturnConfig(num_nodes=16, seconds=8.0)
    window = segment_window(settings, GraphConfig(feature_dim=5, stride_seconds=16 / 30))
    memory = FeatureMemory(5, window.span_ns, 1)
    for row, feature in enumerate(features):
        stamp_ns = round(row * 16 / 30 * SECOND)
        memory.append(torch.from_numpy(feature), stamp_ns=stamp_ns, start_ns=0)
    places = memory.between(window.offsets_ns)
    low = places.astype(np.int64)
    below, above = (memory.take(np.minimum(low + i, len(memory) - 1)) for i in (0, 1))
    shares = torch.from_numpy((places - low).astype(np.float32))
    found = torch.lerp(below, above, shares[:, None])
    moments: Any = 19 - np.arange(15, -1, -1) * 0.5 / (16 / 30)
    np.testing.assert_allclose(found.numpy(), interpolated(features, moments), atol=1e-5)
