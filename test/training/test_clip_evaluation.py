"""What is told of the outputs for clips: of those that are not finite, and of stand-ins."""

from types import SimpleNamespace
from typing import Any

from mtl_training.clip_evaluation import ClipOutputs, judge
from mtl_training.metrics import Evaluation
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

NUM_SENTENCES = 14


def judged(kind: str, dataset: Any, outputs: Tensor, labels: list[int]) -> Evaluation:
    """Return the figures of a task of clips, whose numbers are their places."""
    found, result = ClipOutputs(), Evaluation()
    found.add(outputs, torch.tensor(labels), torch.arange(len(labels)))
    judge(result, 'task', kind, dataset, found.joined([]))
    return result


def captioned(truths: list[tuple[int, ...]]) -> Any:
    """Return a data set of clips whose sentences are unit vectors, all orthogonal."""
    return SimpleNamespace(targets=torch.eye(NUM_SENTENCES), truths=truths.__getitem__)


@pytest.mark.parametrize('wrong', [float('nan'), float('inf'), -float('inf')])
def test_a_clip_that_is_not_finite_does_not_end_a_run_with_videos_of_several_clips(wrong) -> None:
    dataset = SimpleNamespace(labels=('a', 'b'), video_of=lambda index: 'xxyy'[index])
    outputs = torch.tensor([[0.0, 3.0], [0.0, wrong], [4.0, 0.0], [0.0, 1.0]])
    outputs[1] = wrong
    result = judged('classification', dataset, outputs, [1, 1, 0, 0])
    assert result.videos['task']['accuracy'] == 1
    assert (result.videos['task']['videos'], result.videos['task']['clips']) == (2, 4)


@pytest.mark.parametrize('wrong', [float('nan'), float('inf')])
@pytest.mark.parametrize('every', [False, True])
def test_captions_that_are_not_finite_rank_last_and_spoil_no_other(every, wrong) -> None:
    count = NUM_SENTENCES
    outputs = torch.eye(count)
    bad = list(range(count)) if every else [3, 5]
    outputs[bad, 0] = wrong
    rows = list(range(count))
    figures = judged('caption', captioned([(row,) for row in rows]), outputs, rows)
    found = figures.captions['task']
    right = (count - len(bad)) / count
    pools = (found, count), (found['all_sentences'], count), (found['small_pools'], 12)
    for pool, size in pools:
        assert [pool[name] for name in ('r1', 'r5', 'r10')] == pytest.approx([right] * 3)
        assert pool['mean_rank'] == pytest.approx(right + (1 - right) * size)
    assert found['score'] == pytest.approx(right)


def test_a_caption_that_is_not_finite_is_far_from_all_its_sentences() -> None:
    truths = [(0, 1, 2), *((row,) for row in range(3, NUM_SENTENCES))]
    outputs = torch.eye(NUM_SENTENCES)[[0, *range(3, NUM_SENTENCES)]]
    outputs[0] = float('nan')
    found = judged('caption', captioned(truths), outputs, [0, *range(3, NUM_SENTENCES)])
    others = len(truths) - 1
    # Before its three sentences are all those of the others.
    expected = (others + (others + 1)) / len(truths)
    assert found.captions['task']['all_sentences']['mean_rank'] == pytest.approx(expected)


def test_what_stands_in_for_a_clip_is_judged_by_its_own_sentence() -> None:
    truths = [(row, row + 1) for row in range(0, NUM_SENTENCES, 2)]
    labels = [row for row, _ in truths]
    # In the place of the first clip another is shown, and told right.
    labels[0] = labels[3]
    found = judged('caption', captioned(truths), torch.eye(NUM_SENTENCES)[labels], labels)
    assert found.captions['task']['all_sentences']['r1'] == 1
    assert found.losses['task'] == -1
    # Of those that are there, each of their sentences is true.
    other = torch.eye(NUM_SENTENCES)[[labels[0], *(row + 1 for row in labels[1:])]]
    found = judged('caption', captioned(truths), other, labels)
    assert found.captions['task']['all_sentences']['r1'] == 1


def test_what_stands_in_for_a_picture_is_judged_by_its_own_classes() -> None:
    positives = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1]]).bool()
    ignored = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
    shown = positives.float()
    dataset = SimpleNamespace(
        labels=('a', 'b', 'c'),
        targets=shown / shown.sum(1, keepdim=True),
        positives=positives,
        ignored=ignored,
    )
    # In the place of the first picture the last is shown, and told right.
    outputs = 9 * one_hot(torch.tensor([2, 1, 2]), 3).float()
    outputs[1, 2] = 8
    found = judged('classification', dataset, outputs, [2, 1, 2]).multilabel['task']
    assert found['hit_at_1'] == 1
    assert found['map'] == found['map_11_points'] == 1
    assert found['per_class'] == {'a': None, 'b': 1, 'c': 1}
