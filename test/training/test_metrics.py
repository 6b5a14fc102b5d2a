"""Accuracies against slow loops and torchmetrics."""

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.metrics import ConfusionMatrix, Evaluation
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

LABELS = ('a', 'b', 'c', 'd')
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def matrix_of(pairs, batch=7) -> ConfusionMatrix:
    matrix = ConfusionMatrix(LABELS)
    for start in range(0, len(pairs), batch):
        true, predicted = zip(*pairs[start : start + batch])
        matrix.update(torch.tensor(predicted), torch.tensor(true))
    return matrix


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_the_confusion_matrix_is_that_of_torchmetrics(pairs) -> None:
    true, predicted = (torch.tensor(column) for column in zip(*pairs))
    expected = multiclass_confusion_matrix(predicted, true, num_classes=4)
    assert torch.equal(matrix_of(pairs).counts, expected)


@settings(max_examples=40, deadline=None)
@given(PAIRS, PAIRS)
def test_cumulative_accuracy_counts_samples_and_mean_accuracy_counts_tasks(first, second) -> None:
    evaluation = Evaluation({'x': matrix_of(first), 'y': matrix_of(second)})
    hits = [sum(t == p for t, p in pairs) for pairs in (first, second)]
    shares = [hit / len(pairs) for hit, pairs in zip(hits, (first, second))]
    total = len(first) + len(second)
    assert evaluation.cumulative_accuracy == pytest.approx(sum(hits) / total)
    assert evaluation.mean_accuracy == pytest.approx(sum(shares) / 2)
    assert evaluation.summary()['accuracy'] == pytest.approx(dict(zip('xy', shares)))


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_recall_and_precision_are_those_of_a_slow_loop(pairs) -> None:
    figures = matrix_of(pairs).per_class()
    for number, label in enumerate(LABELS):
        of_truth = [p for t, p in pairs if t == number]
        of_prediction = [t for t, p in pairs if p == number]
        assert figures[label]['samples'] == len(of_truth)
        for name, column in (('recall', of_truth), ('precision', of_prediction)):
            expected = column.count(number) / len(column) if column else 0
            assert figures[label][name] == pytest.approx(expected)


def test_the_worst_confusions_come_first_and_hits_are_none() -> None:
    matrix = matrix_of([(0, 0)] * 9 + [(1, 2)] * 3 + [(3, 0)] * 5)
    assert matrix.worst_confusions() == [('d', 'a', 5), ('b', 'c', 3)]


def test_an_empty_evaluation_is_zero_and_not_a_crash() -> None:
    evaluation = Evaluation({'x': ConfusionMatrix(LABELS)}, {'x': 0.0})
    assert evaluation.cumulative_accuracy == evaluation.mean_accuracy == 0
