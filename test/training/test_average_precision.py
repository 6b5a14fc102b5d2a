"""Average precision against torchmetrics, slow loops and values by hand."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.average_precision import INTERPOLATIONS, mean_average_precision
import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision


@st.composite
def images(draw, classes=3):
    """Draw scores with many ties, positives and ignored entries."""
    num = draw(st.integers(1, 14))

    def table(values):
        row = st.lists(values, min_size=classes, max_size=classes)
        return torch.tensor(draw(st.lists(row, min_size=num, max_size=num)))

    kind = table(st.sampled_from([0, 0, 1, 2]))
    return table(st.integers(0, 5)) / 8, kind == 1, kind == 2


def points_of(entries) -> list[tuple[Fraction, Fraction]]:
    """Return recall and precision at each threshold that there is."""
    total = sum(is_positive for _, is_positive in entries)
    points = []
    for threshold in sorted({score for score, _ in entries}, reverse=True):
        found = [is_positive for score, is_positive in entries if score >= threshold]
        points.append((Fraction(sum(found), total), Fraction(sum(found), len(found))))
    return points


def slow(entries, interpolation) -> Fraction | None:
    if not any(is_positive for _, is_positive in entries):
        return None
    points = points_of(entries)

    def highest(recall) -> Fraction:
        return max(precision for reached, precision in points if reached >= recall)

    if interpolation == 'eleven_points':
        return sum(highest(Fraction(i, 10)) for i in range(11)) / 11
    area, before = Fraction(0), Fraction(0)
    for recall, precision in points:
        area += (recall - before) * (precision if interpolation == 'none' else highest(recall))
        before = recall
    return area


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@settings(max_examples=50, deadline=None)
@given(drawn=images())
def test_average_precision_is_that_of_a_slow_loop(interpolation, drawn) -> None:
    scores, positives, ignored = drawn
    found = mean_average_precision(scores, positives, ignored, interpolation=interpolation)
    for number, value in enumerate(found.per_class):
        columns = zip(*(table[:, number].tolist() for table in (scores, positives, ignored)))
        entries = [(score, positive) for score, positive, out in columns if not out]
        expected = slow(entries, interpolation)
        assert (value is None) == (expected is None)
        assert value is None or value == pytest.approx(float(expected))
    known = [value for value in found.per_class if value is not None]
    assert found.left_out == tuple(i for i, v in enumerate(found.per_class) if v is None)
    assert found.mean == (pytest.approx(sum(known) / len(known)) if known else None)


@settings(max_examples=40, deadline=None)
@given(images())
def test_the_plain_sum_is_that_of_torchmetrics(drawn) -> None:
    scores, positives, ignored = drawn
    found = mean_average_precision(scores, positives, ignored, interpolation='none')
    for number, value in enumerate(found.per_class):
        if value is not None:
            target = positives[:, number].long().masked_fill(ignored[:, number], -1)
            expected = binary_average_precision(scores[:, number], target, ignore_index=-1)
            assert value == pytest.approx(float(expected), abs=1e-6)


def column(*values, dtype=torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).unsqueeze(1)


@pytest.mark.parametrize(
    'interpolation, value',
    [
        # Precision 1 at recall 1/2, 1/2 and 1/3 there too, 2/4 at recall 1.
        ('none', (1 + 2 / 4) / 2),
        ('all_points', (1 + 2 / 4) / 2),
        ('eleven_points', (6 * 1 + 5 * 2 / 4) / 11),
    ],
)
def test_a_value_by_hand(interpolation, value) -> None:
    scores, positives = column(0.9, 0.8, 0.7, 0.6), column(1, 0, 0, 1, dtype=torch.bool)
    found = mean_average_precision(scores, positives, interpolation=interpolation)
    assert found.mean == pytest.approx(value)


def test_interpolation_takes_the_highest_precision_beyond() -> None:
    # Precisions 0, 1/2, 2/3: the envelope is 2/3 all along.
    scores, positives = column(0.9, 0.8, 0.7), column(0, 1, 1, dtype=torch.bool)
    values = [
        mean_average_precision(scores, positives, interpolation=name).mean
        for name in INTERPOLATIONS
    ]
    assert values == pytest.approx([(1 / 2 + 2 / 3) / 2, 2 / 3, 2 / 3])


@pytest.mark.parametrize('tenths', range(1, 10))
def test_a_recall_of_tenths_reaches_its_point_of_the_eleven(tenths) -> None:
    """In floating point 3 * 0.1 is more than 3 / 10."""
    positives = torch.tensor([True] * tenths + [False] * 90 + [True] * (10 - tenths))
    scores = torch.linspace(1, 0, 100).unsqueeze(1)
    found = mean_average_precision(
        scores, positives.unsqueeze(1), interpolation='eleven_points'
    ).mean
    rest = max(Fraction(k, 90 + k) for k in range(tenths, 11))
    assert found == pytest.approx(float((tenths + 1 + (10 - tenths) * rest) / 11))


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_equal_scores_make_the_share_of_positives_in_any_order(interpolation) -> None:
    for positives in ([True, True, False, False, False], [False, False, False, True, True]):
        found = mean_average_precision(
            torch.zeros(5, 1), torch.tensor(positives).unsqueeze(1), interpolation=interpolation
        )
        assert found.mean == pytest.approx(2 / 5)


@settings(max_examples=30, deadline=None)
@given(images())
def test_ignored_entries_are_as_if_their_image_was_not_there(drawn) -> None:
    scores, positives, ignored = drawn
    whole = mean_average_precision(scores, positives, ignored)
    moved = mean_average_precision(scores.masked_fill(ignored, 9.0), positives, ignored)
    assert moved == whole
    for number, value in enumerate(whole.per_class):
        rows = ~ignored[:, number]
        parts = scores[rows, number : number + 1], positives[rows, number : number + 1]
        assert mean_average_precision(*parts).per_class == (value,)


def test_a_class_without_positives_is_left_out_and_said() -> None:
    positives = torch.tensor([[True, False], [False, False]])
    found = mean_average_precision(torch.tensor([[0.9, 0.9], [0.1, 0.1]]), positives)
    assert found.per_class == (1.0, None)
    assert (found.mean, found.left_out) == (1.0, (1,))
    nothing = mean_average_precision(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert (nothing.mean, nothing.left_out) == (None, (0, 1))


def test_what_is_no_table_of_scores_is_refused() -> None:
    scores, positives = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r'must be \[N, C\], got \[3, 2\], \[2, 2\]'):
        mean_average_precision(scores, positives[:2])
    with pytest.raises(ValueError, match='scores must be numbers, got nan'):
        mean_average_precision(scores / 0, positives)
    with pytest.raises(ValueError, match=r'got both at \[0, 0\]'):
        mean_average_precision(scores, ~positives, ~positives)
    with pytest.raises(ValueError, match=r"one of .*'eleven_points'.*, got 'voc'"):
        mean_average_precision(scores, positives, interpolation='voc')
