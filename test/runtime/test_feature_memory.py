"""The memory of features against a list that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mtl_perception.runtime.feature_memory import FeatureMemory, MAX_FEATURES
import numpy as np
import torch

SECOND = 1_000_000_000


def fill(memory: FeatureMemory, stamps_ns: list[int], *, generation: int = 0) -> None:
    """Append features that tell their stamp."""
    for stamp_ns in stamps_ns:
        feature = torch.full((2,), float(stamp_ns))
        memory.append(feature, stamp_ns=stamp_ns, start_ns=stamp_ns - 5, generation=generation)


def stamps_in(memory: FeatureMemory) -> list[int]:
    """Return what the features themselves say, oldest first."""
    taken = memory.take(np.arange(len(memory)))
    assert (taken[:, 0] == taken[:, 1]).all()
    return [int(value) for value in taken[:, 0]]


def test_features_faster_than_needed_take_each_others_place() -> None:
    memory = FeatureMemory(2, 100, 10)
    fill(memory, [0, 4, 8, 12, 16, 20, 21])
    # The newest is always there; between any others lie at least 10.
    assert stamps_in(memory) == [0, 12, 21]
    fill(memory, [22])
    assert stamps_in(memory) == [0, 12, 22]


def test_what_is_older_than_needed_is_forgotten() -> None:
    memory = FeatureMemory(2, 30, 10)
    fill(memory, [0, 10, 20, 30, 40, 55])
    # 25 ago is needed: the last one before that is kept.
    assert stamps_in(memory) == [20, 30, 40, 55]
    assert memory.span_ns == 35
    assert memory.hole_ns == 15
    assert memory.start_ns(0) == 15
    assert memory.covers(35)
    assert not memory.covers(36)


@given(
    steps=st.lists(st.integers(1, 40), max_size=80),
    span=st.integers(0, 200),
    spacing=st.integers(1, 50),
)
def test_the_memory_never_grows_and_is_never_without_what_is_near(
    steps: list[int], span: int, spacing: int
) -> None:
    memory = FeatureMemory(2, span, spacing)
    size = memory._features.shape
    stamps = np.cumsum([1000, *steps]).tolist()
    for count, stamp_ns in enumerate(stamps, 1):
        fill(memory, [stamp_ns])
        kept = stamps_in(memory)
        assert kept == sorted(set(kept))
        assert kept[-1] == stamp_ns
        assert len(kept) <= memory.capacity
        assert set(kept) <= set(stamps[:count])
        # As far back as was seen, and no further than needed.
        assert memory.covers(min(span, stamp_ns - stamps[0]))
        for seen in stamps[:count]:
            if stamp_ns - seen <= span:
                assert min(abs(seen - stamp) for stamp in kept) <= spacing
    assert memory._features.shape == size


def test_however_long_a_window_the_memory_is_bounded() -> None:
    memory = FeatureMemory(1, 10**15, 1)
    assert memory.capacity <= MAX_FEATURES + 2


def test_another_generation_starts_afresh() -> None:
    memory = FeatureMemory(2, 100, 10)
    fill(memory, [0, 20, 40])
    fill(memory, [7], generation=1)
    assert stamps_in(memory) == [7]
    assert memory.span_ns == memory.hole_ns == 0


def test_what_was_appended_last_can_be_forgotten_again() -> None:
    memory = FeatureMemory(2, 50, 10)
    fill(memory, [0, 20, 40, 45])
    fill(memory, [48])
    assert stamps_in(memory) == [0, 20, 40, 48]
    memory.undo()
    assert stamps_in(memory) == [0, 20, 40, 45]
    fill(memory, [60])
    assert stamps_in(memory) == [0, 20, 40, 60]
    fill(memory, [5], generation=1)
    memory.undo()
    assert len(memory) == 0
    assert not memory.covers(0)


@given(
    stamps=st.lists(st.integers(0, 300), min_size=1, max_size=20, unique=True),
    offsets=st.lists(st.integers(-300, 0), min_size=1, max_size=5),
)
def test_the_nearest_feature_is_taken_and_the_later_of_two(
    stamps: list[int], offsets: list[int]
) -> None:
    memory = FeatureMemory(2, 300, 1)
    fill(memory, sorted(stamps))
    found = memory.nearest(np.array(sorted(offsets)))
    newest = max(stamps)
    for place, offset in zip(found, sorted(offsets)):
        expected = min(stamps, key=lambda stamp: (abs(stamp - newest - offset), -stamp))
        assert stamps_in(memory)[place] == expected


def test_a_place_between_features_is_a_share_of_their_distance() -> None:
    memory = FeatureMemory(2, 40 * SECOND, 1)
    fill(memory, [0, 10 * SECOND, 40 * SECOND])
    offsets = np.array([-40, -35, -30, -15, 0]) * SECOND
    np.testing.assert_allclose(memory.between(offsets), [0, 0.5, 1, 1.5, 2])
