"""Edit distances of many sequences at once, against one pair at a time."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training.edit_distance import best_distances, edit_distances
import pytest
import torch

LABELS = st.integers(0, 3)
PAIRS = st.integers(0, 7).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.lists(LABELS, min_size=n, max_size=n)] * 2), min_size=1, max_size=5
    )
)


def levenshtein(first: list[int], second: list[int]) -> int:
    """Return the distance by its definition: the cheapest of three last edits."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (first[i - 1] != second[j - 1]),
        )

    return distance(len(first), len(second))


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.data())
def test_all_pairs_at_once_are_as_one_by_one(pairs, data) -> None:
    length = len(pairs[0][0])
    lengths = [data.draw(st.integers(0, length)) for _ in pairs]
    first, second = (torch.tensor([p[i] for p in pairs]).view(len(pairs), length) for i in (0, 1))
    found = edit_distances(first, second, torch.tensor(lengths))
    assert found.tolist() == [levenshtein(a[:n], b[:n]) for (a, b), n in zip(pairs, lengths)]


@pytest.mark.parametrize(
    ('first', 'second', 'edits'),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 0),
        ([1, 2, 3, 4], [5, 6, 7, 8], 4),
        ([1, 2, 3, 4], [2, 3, 4, 5], 2),  # one label off: leave one out and append one
        ([1, 2, 3, 4], [2, 1, 4, 3], 3),
    ],
    ids=['identical', 'disjoint', 'shifted', 'swapped'],
)
def test_edits_that_are_easy_to_count(first, second, edits) -> None:
    count = torch.tensor([4])
    assert edit_distances(torch.tensor([first]), torch.tensor([second]), count).item() == edits


def test_the_best_of_several_guesses_counts() -> None:
    truth = torch.tensor([[0, 1, 2, 3]])
    guesses = torch.tensor([[[5, 5, 5, 5]], [[0, 1, 2, 5]], [[0, 5, 5, 5]]])
    assert best_distances(guesses, truth).tolist() == [0.25]
    assert best_distances(guesses[:1], truth).tolist() == [1.0]


def test_what_nobody_knows_counts_on_neither_side() -> None:
    truth = torch.tensor([[0, -1, 1, -1], [-1, -1, -1, -1]])
    guesses = torch.tensor([[[0, 7, 1, 8], [1, 2, 3, 4]]])
    assert best_distances(guesses, truth).tolist() == [0.0, 0.0]
