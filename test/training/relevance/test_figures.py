"""AUROC and calibration error against other people's code."""

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.relevance.figures import auroc, Reliability
import pytest
from scipy.stats import mannwhitneyu
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(PAIRS.filter(lambda pairs: len({positive for _, positive in pairs}) == 2))
def test_auroc_is_that_of_mann_and_whitney_with_ties(pairs) -> None:
    scores = torch.tensor([float(score) for score, _ in pairs])
    is_positive = torch.tensor([positive for _, positive in pairs])
    statistic = mannwhitneyu(scores[is_positive], scores[~is_positive]).statistic
    count = int(is_positive.sum())
    assert auroc(scores, is_positive) == pytest.approx(statistic / (count * (len(pairs) - count)))


def test_auroc_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match='needs positives and negatives, got 3 and 0'):
        auroc(torch.rand(3), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('sharpness', [0.3, 2.0, 20.0])
def test_the_calibration_error_is_that_of_torchmetrics(seed: int, sharpness: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(500, 7, generator=generator)
    truth = torch.randint(7, (500,), generator=generator)
    expected = multiclass_calibration_error(logits.softmax(1), truth, 7, n_bins=15, norm='l1')
    found = Reliability.of(logits.softmax(1), logits.argmax(1), truth)
    assert found.error() == pytest.approx(float(expected), abs=1e-5)
    assert int(found.counts.sum()) == 500


def test_bins_hold_what_is_worked_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    said, truth = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    bins = Reliability.of(probabilities, said, truth, num_bins=4)
    assert bins.counts.tolist() == [0, 0, 1, 2]
    torch.testing.assert_close(bins.confidence[2:], torch.tensor([0.6, 0.85], dtype=torch.float64))
    assert bins.accuracy.tolist() == [0, 0, 1, 0.5]
    assert bins.error() == pytest.approx((0.4 + 2 * 0.35) / 3)


def test_an_answer_has_its_own_probability_also_where_another_is_more_probable() -> None:
    probabilities = torch.tensor([[0.3, 0.25, 0.45], [0.1, 0.2, 0.7]])
    bins = Reliability.of(probabilities, torch.tensor([0, 2]), torch.tensor([0, 2]), num_bins=4)
    assert bins.counts.tolist() == [0, 1, 1, 0]
    assert bins.confidence.tolist() == pytest.approx([0, 0.3, 0.7, 0])
    assert bins.error() == pytest.approx((0.7 + 0.3) / 2)
