"""Accuracies of clips and of videos, against slow loops."""

from collections import defaultdict
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.video_accuracy import hit_at_1, video_accuracy, video_probabilities
import pytest
import torch


def slow_softmax(row) -> list[float]:
    weights = [math.exp(value) for value in row]
    return [weight / sum(weights) for weight in weights]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 1000))
def test_accuracies_are_those_of_slow_loops(numbers, seed) -> None:
    scores = torch.randn(len(numbers), 3, generator=torch.Generator().manual_seed(seed))
    videos = [f'video {number}' for number in numbers]
    labels = [number % 3 for number in numbers]
    sums, hits = defaultdict(lambda: [0.0] * 3), 0
    for row, video, label in zip(scores.tolist(), videos, labels):
        hits += row.index(max(row)) == label
        sums[video] = [a + b for a, b in zip(sums[video], slow_softmax(row))]
    right = sum(row.index(max(row)) == int(video[-1]) % 3 for video, row in sums.items())
    assert hit_at_1(scores, torch.tensor(labels)) == pytest.approx(hits / len(labels))
    found = video_accuracy(scores, torch.tensor(labels), videos)
    assert found == pytest.approx(right / len(sums))


def test_one_sure_clip_outweighs_two_unsure_ones() -> None:
    scores = torch.tensor([[9.0, 0.0], [0.0, 0.2], [0.0, 0.2]])
    labels, videos = torch.zeros(3, dtype=torch.long), ['a', 'a', 'a']
    assert hit_at_1(scores, labels) == pytest.approx(1 / 3)
    assert video_accuracy(scores, labels, videos) == 1


def test_it_is_probabilities_that_are_averaged_and_not_logits() -> None:
    # The mean logit prefers the first label, the mean probability the second.
    scores = torch.tensor([[90.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    labels = torch.ones(3, dtype=torch.long)
    assert video_accuracy(scores, labels, ['a'] * 3) == 1


def test_a_video_counts_once_however_many_clips_it_has() -> None:
    scores = torch.tensor([[1.0, 0.0]] * 4)
    labels, videos = torch.tensor([0, 0, 0, 1]), ['a', 'a', 'a', 'b']
    assert hit_at_1(scores, labels) == 0.75
    assert video_accuracy(scores, labels, videos) == 0.5


def test_clips_that_are_each_their_own_video_have_the_accuracy_of_clips() -> None:
    scores = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    videos = [str(i) for i in range(50)]
    assert video_accuracy(scores, labels, videos) == hit_at_1(scores, labels)


def test_probabilities_of_videos_come_in_the_order_of_their_first_clips() -> None:
    scores = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [0.0, math.log(3)]])
    names, probabilities = video_probabilities(scores, ['b', 'a', 'b'])
    assert names == ['b', 'a']
    expected = torch.tensor([[0.375, 0.625], [0.25, 0.75]], dtype=torch.float64)
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-7)


def test_clips_that_do_not_fit_together_are_refused() -> None:
    scores, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="got 0 and 1 for 'a'"):
        video_accuracy(scores, labels, ['a', 'a'])
    with pytest.raises(ValueError, match='videos must be of 2 clips, got 1'):
        video_accuracy(scores, labels, ['a'])
    with pytest.raises(ValueError, match=r'at least one clip, got \[0, 3\] and \[0\]'):
        hit_at_1(scores[:0], labels[:0])
    with pytest.raises(ValueError, match='labels must be from 0 to 2, got 3'):
        hit_at_1(scores, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match='scores must be finite, got nan'):
        hit_at_1(scores / 0, labels)
