"""Ranks of true sentences, against every order of equals and slow loops."""

from fractions import Fraction
from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_training import retrieval as room
from mtl_training.retrieval import rank_of_truth, retrieval, RetrievalFigures
from mtl_training.retrieval_pools import (
    caption_figures,
    one_sentence_each,
    pools_of,
    random_pools,
)
import numpy as np
import pytest


@st.composite
def queries(draw, max_sentences=6, levels=3):
    """Draw similarities with many ties, and true rows."""
    num_queries, num = draw(st.integers(1, 4)), draw(st.integers(1, max_sentences))
    row = st.lists(st.integers(0, levels - 1), min_size=num, max_size=num)
    values = draw(st.lists(row, min_size=num_queries, max_size=num_queries))
    true = st.lists(st.integers(0, num - 1), min_size=1, max_size=num)
    truths = draw(st.lists(true, min_size=num_queries, max_size=num_queries))
    return np.array(values, dtype=np.float32) / levels, truths


def mean_rank_over_orders(row, true) -> Fraction:
    """Sort a row in every order that its ties allow, and look where the first true one is."""
    ranks = []
    for order in permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in pairwise(order)):
            ranks.append(1 + min(order.index(one) for one in true))
    return Fraction(sum(ranks), len(ranks))


@settings(max_examples=60, deadline=None)
@given(queries())
def test_a_rank_is_the_mean_over_all_orders_of_equals(drawn) -> None:
    similarities, truths = drawn
    expected = [float(mean_rank_over_orders(row, t)) for row, t in zip(similarities, truths)]
    np.testing.assert_allclose(rank_of_truth(similarities, truths), expected, rtol=1e-12)


@pytest.mark.parametrize(
    'row, true, rank',
    [
        ([0.9, 0.5, 0.1], [0], 1.0),
        ([0.9, 0.5, 0.1], [2], 3.0),
        ([0.9, 0.5, 0.1], [2, 1], 2.0),  # the best of two
        ([0.5, 0.5, 0.5, 0.1], [1], 2.0),  # the mean of 1, 2, 3
        ([0.9, 0.5, 0.5, 0.1], [1], 2.5),  # the mean of 2, 3
        ([0.5, 0.5, 0.1], [0, 1], 1.0),  # a true one comes first in any order
        ([0.0] * 12, [4], 6.5),
        ([0.5, 0.5], [0, 0], 1.5),  # named twice is one sentence
        ([-0.0, 0.0], [0], 1.5),
    ],
)
def test_ranks_by_hand(row, true, rank) -> None:
    assert rank_of_truth(np.array([row]), [true]).tolist() == [rank]


def test_a_tie_at_the_border_counts_by_its_mean_rank() -> None:
    # The true one is equal to one other: at places 1 and 2, 5 and 6, 10 and 11.
    ranks = rank_of_truth(
        np.array([[*[2.0] * more, 1.0, 1.0, *[0.0] * (10 - more)] for more in (0, 4, 9)]),
        [[0], [4], [9]],
    )
    assert ranks.tolist() == [1.5, 5.5, 10.5]
    figures = RetrievalFigures.of(ranks, pool=12)
    assert (figures.r1, figures.r5, figures.r10) == pytest.approx((0, 1 / 3, 2 / 3))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_figures_are_those_of_a_slow_loop(ranks) -> None:
    figures = RetrievalFigures.of(np.array(ranks, dtype=float), pool=40)
    for k, value in ((1, figures.r1), (5, figures.r5), (10, figures.r10)):
        assert value == pytest.approx(sum(rank <= k for rank in ranks) / len(ranks))
    middle = sorted(ranks)[(len(ranks) - 1) // 2], sorted(ranks)[len(ranks) // 2]
    assert figures.median_rank == sum(middle) / 2
    assert figures.mean_rank == pytest.approx(sum(ranks) / len(ranks))
    assert (figures.pool, figures.queries) == (40, len(ranks))


def unit(values) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def vectors(num, width=8, seed=0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(num, width)))


def slow_ranks(embeddings, pool, truths) -> list[float]:
    """Rank in exact arithmetic; only equal sentences are equally similar."""
    ranks = []
    for query, true in zip(embeddings.tolist(), truths):
        exact = [
            sum(Fraction(a) * Fraction(b) for a, b in zip(query, sentence))
            for sentence in pool.tolist()
        ]
        best = max(exact[row] for row in true)
        equal = [row for row, value in enumerate(exact) if value == best]
        num_true = len(set(true) & set(equal))
        more = sum(value > best for value in exact)
        ranks.append(more + 1 + (len(equal) - num_true) / (num_true + 1))
    return ranks


@pytest.mark.parametrize('chunk_bytes', [1, 4 * 37 * 3, 2**26])
def test_retrieval_is_that_of_exact_arithmetic_in_any_chunks(chunk_bytes, monkeypatch) -> None:
    monkeypatch.setattr(room, 'CHUNK_BYTES', chunk_bytes)
    embeddings, pool = vectors(23), vectors(37, seed=1)
    pool[[5, 30, 36]] = pool[2]
    generator = np.random.default_rng(2)
    truths = [generator.integers(0, 37, 1 + i % 3).tolist() for i in range(22)] + [[30]]
    ranks = slow_ranks(embeddings, pool, truths)
    assert any(rank % 1 for rank in ranks), 'there must be ties to see'
    assert retrieval(embeddings, pool, truths) == RetrievalFigures.of(np.array(ranks), 37)


@pytest.mark.parametrize('width', [3, 8, 31, 64])
@pytest.mark.parametrize('num', [7, 33, 200])
def test_the_same_sentence_anywhere_in_the_pool_is_a_tie_to_the_last_bit(num, width) -> None:
    pool = np.repeat(vectors(1, width), num, axis=0)
    figures = retrieval(vectors(5, width, seed=1), pool, [[i] for i in range(5)])
    assert figures.mean_rank == figures.median_rank == (num + 1) / 2
    drawn = random_pools(vectors(5, width, seed=1), pool, [[i] for i in range(5)], size=5)
    assert drawn.mean_rank == drawn.median_rank == 3


def test_zeros_of_either_sign_are_the_same_sentence() -> None:
    pool = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]], dtype=np.float32)
    distinct, group = room._distinct(pool)
    assert group.tolist() == [0, 1, 0]
    assert np.array_equal(distinct[group], pool)
    assert retrieval(pool[:1], pool, [[2]]).mean_rank == 1.5


def test_a_query_finds_itself_and_its_length_has_no_influence() -> None:
    pool = vectors(50)
    truths = [[i] for i in range(50)]
    assert retrieval(7 * pool, pool, truths) == retrieval(pool, pool, truths)
    assert retrieval(pool, pool, truths).r1 == 1


def test_the_order_of_the_pool_has_no_influence() -> None:
    embeddings, pool = vectors(9), vectors(30, seed=1)
    truths = [[i, 29 - i] for i in range(9)]
    order = np.random.default_rng(3).permutation(30)
    place = {int(row): i for i, row in enumerate(order)}
    moved = [[place[row] for row in true] for true in truths]
    assert retrieval(embeddings, pool[order], moved) == retrieval(embeddings, pool, truths)


@pytest.mark.parametrize(
    'truths, message',
    [
        ([[0]], 'must be of 2 queries, got 1'),
        ([[0], []], 'got none for 1'),
        ([[0], [1, 3]], 'rows from 0 to 2, got 3 for query 1'),
        ([[-1], [0]], 'rows from 0 to 2, got -1 for query 0'),
    ],
)
def test_truths_that_are_none_are_refused(truths, message) -> None:
    with pytest.raises(ValueError, match=message):
        rank_of_truth(np.zeros((2, 3)), truths)
    with pytest.raises(ValueError, match=message):
        retrieval(vectors(2), vectors(3), truths)


def test_what_is_no_similarity_or_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match=r'at least one query and sentence, got \[0, 3\]'):
        rank_of_truth(np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match='similarities must be finite, got nan'):
        rank_of_truth(np.array([[0.0, np.nan]]), [[0]])
    with pytest.raises(ValueError, match='embeddings must be finite, got nan'):
        retrieval(np.full((1, 8), np.nan), vectors(3), [[0]])
    with pytest.raises(ValueError, match=r'got \[1, 8\] and \[3, 4\]'):
        retrieval(vectors(1), vectors(3, 4), [[0]])
    with pytest.raises(ValueError, match='length 1, got 2 in row 1'):
        retrieval(vectors(1), vectors(3) * [[1], [2], [1]], [[0]])


TRUTHS = [[3, 0], [1], [0, 3, 3], [2, 1], [4]]


def test_the_first_sentence_of_each_item_is_the_pool() -> None:
    rows, truths = one_sentence_each(TRUTHS)
    # Queries 0 and 2 are of one item, and the sentence of item 1 is true of item 3 as well.
    assert rows.tolist() == [1, 2, 3, 4]
    assert truths == [[2], [0], [2, 2], [1, 0], [3]]


@pytest.mark.parametrize('seed', range(5))
def test_a_random_sentence_of_each_item_is_a_true_one_and_of_the_seed(seed) -> None:
    rows, truths = one_sentence_each(TRUTHS, seed)
    for mine, true in zip(truths, TRUTHS):
        assert {rows[i] for i in mine} <= set(true)
        assert mine
    again, _ = one_sentence_each(TRUTHS, seed)
    assert again.tolist() == rows.tolist()
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_another_seed_chooses_other_sentences() -> None:
    truths = [list(range(5 * i, 5 * i + 5)) for i in range(10)]
    choices = {tuple(one_sentence_each(truths, seed)[0].tolist()) for seed in (None, 0, 1)}
    assert len(choices) == 3
    assert tuple(range(0, 50, 5)) in choices


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=8), min_size=1, max_size=6),
    st.integers(2, 12),
    st.integers(0, 5),
)
def test_a_random_pool_has_one_true_sentence_and_no_sentence_twice(truths, size, seed) -> None:
    pools = pools_of(truths, 20, size, seed)
    for pool, true in zip(pools.tolist(), truths):
        assert pool[0] in true
        assert not set(pool[1:]) & set(true)
        assert len(set(pool)) == size
        assert set(pool) <= set(range(20))
    assert np.array_equal(pools, pools_of(truths, 20, size, seed))


def test_every_false_sentence_is_drawn_as_often_as_any_other() -> None:
    pools = pools_of([[2, 5]] * 4000, 9, 4)
    counts = np.bincount(pools[:, 1:].ravel(), minlength=9)
    assert counts[[2, 5]].tolist() == [0, 0]
    false = np.delete(counts, [2, 5])
    # Binomial with p = 3/7: five standard deviations.
    assert np.abs(false - 4000 * 3 / 7).max() < 5 * np.sqrt(4000 * 3 / 7 * 4 / 7)
    assert abs(int((pools[:, 0] == 2).sum()) - 2000) < 5 * np.sqrt(1000)


def test_random_pools_are_ranked_as_a_slow_loop_ranks_them() -> None:
    embeddings, sentences = vectors(8), vectors(30, seed=1)
    sentences[9] = sentences[4]
    truths = [[i, i + 8] for i in range(8)]
    draws = []
    for seed in (3, 4):
        ranks = []
        for query, rows in zip(embeddings, pools_of(truths, 30, 6, seed)):
            ranks += slow_ranks(query[None], sentences[rows], [[0]])
        draws.append(RetrievalFigures.of(np.array(ranks), 6))
    found = random_pools(embeddings, sentences, truths, size=6, num_draws=2, seed=3)
    for name in ('r1', 'r5', 'r10', 'median_rank', 'mean_rank'):
        mean = (getattr(draws[0], name) + getattr(draws[1], name)) / 2
        assert getattr(found, name) == pytest.approx(mean)
    assert (found.pool, found.queries) == (6, 8)


def test_chance_in_a_pool_of_twelve_is_a_twelfth() -> None:
    found = random_pools(vectors(600, 16), vectors(40, 16, seed=1), [[i % 40] for i in range(600)])
    assert found.r1 == pytest.approx(1 / 12, abs=0.02)
    assert found.mean_rank == pytest.approx(6.5, abs=0.3)


@pytest.mark.parametrize('size', [1, 5])
def test_a_pool_of_one_or_of_more_than_there_are_is_refused(size) -> None:
    with pytest.raises(ValueError, match=rf'from 2 to 4, .* query 0 .* got {size}\.'):
        pools_of([[0, 1], [0]], 5, size)


def test_no_draw_is_refused() -> None:
    with pytest.raises(ValueError, match='num_draws must be at least 1, got 0'):
        random_pools(vectors(1), vectors(20), [[0]], num_draws=0)


def test_every_protocol_says_the_size_of_its_pool() -> None:
    sentences = vectors(40)
    truths = [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(10)]
    figures = caption_figures(vectors(10, seed=1), sentences, truths)
    assert (figures['pool'], figures['queries']) == (10, 10)
    assert figures['all_sentences']['pool'] == 40
    assert figures['small_pools']['pool'] == 12
    first = retrieval(vectors(10, seed=1), sentences[::4], [[i] for i in range(10)])
    assert figures['mean_rank'] == first.mean_rank
    every = retrieval(vectors(10, seed=1), sentences, truths)
    assert figures['all_sentences']['mean_rank'] == every.mean_rank


@pytest.mark.parametrize('num, has_pools', [(13, True), (12, False)])
def test_too_few_sentences_make_no_small_pool(num, has_pools) -> None:
    figures = caption_figures(vectors(1, seed=1), vectors(num), [[0, 1]])
    assert (figures['small_pools'] is not None) == has_pools
