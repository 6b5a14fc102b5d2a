"""What a query is ranked against: all sentences, one of each item, or a few at random."""

from __future__ import annotations

from dataclasses import asdict
import statistics
from typing import Any

from mtl_training.retrieval import (
    checked,
    checked_embeddings,
    rank_of_truth,
    retrieval,
    RetrievalFigures,
    Truths,
)
import numpy as np

POOL_SIZE = 12
NUM_DRAWS = 10
QUERIES_AT_A_TIME = 256
AVERAGED = ('r1', 'r5', 'r10', 'median_rank', 'mean_rank')


def caption_figures(
    embeddings: np.ndarray, sentences: np.ndarray, truths: Truths, *, seed: int = 0
) -> dict[str, Any]:
    """
    Return the figures of a caption task under each protocol, fit for JSON.

    Figures under different protocols, or of pools of different sizes, can't be compared.

    :param embeddings: Of the queries, unit vectors, ``[Q, E]``.
    :param sentences: The embeddings of all sentences, unit vectors, ``[M, E]``.
    :param truths: The rows of the true sentences of each query.
    :param seed: Of the random pools.
    :return: The fields of :class:`RetrievalFigures` with the first true sentence of each item as
        the pool; the same under ``all_sentences``, and of :func:`random_pools` under
        ``small_pools``, which is None where there are not sentences enough for one pool.
    :raises ValueError: As :func:`mtl_training.retrieval.retrieval`.
    """
    rows, own = one_sentence_each(truths)
    lists = checked(truths, len(embeddings), len(sentences))
    fewest_false = len(sentences) - max(len(one) for one in lists)
    small = None
    if fewest_false >= POOL_SIZE - 1:
        small = asdict(random_pools(embeddings, sentences, truths, seed=seed))
    return {
        **asdict(retrieval(embeddings, sentences[rows], own)),
        'all_sentences': asdict(retrieval(embeddings, sentences, truths)),
        'small_pools': small,
    }


def one_sentence_each(
    truths: Truths, seed: int | None = None
) -> tuple[np.ndarray, list[list[int]]]:
    """
    Choose one true sentence of each item; queries with the same true sentences are one item.

    :param seed: Of a random choice; None chooses the first that ``truths`` names.
    :return: The rows of the pool, ``[P]`` in ascending order, and the truths within that pool. A
        sentence that was chosen for another item is true wherever ``truths`` has it.
    :raises ValueError: If a query has no true sentence.
    """
    generator = None if seed is None else np.random.default_rng(seed)
    chosen: dict[tuple[int, ...], int] = {}
    for query, rows in enumerate(truths):
        if not len(rows):
            raise ValueError(f'truths must name a sentence for each query, got none for {query}.')
        item = tuple(sorted({int(row) for row in rows}))
        if item not in chosen:
            chosen[item] = int(rows[0] if generator is None else generator.choice(item))
    pool = sorted(set(chosen.values()))
    place = {row: i for i, row in enumerate(pool)}
    return np.array(pool), [[place[int(r)] for r in rows if int(r) in place] for rows in truths]


def pools_of(
    truths: Truths, num_sentences: int, size: int = POOL_SIZE, seed: int = 0
) -> np.ndarray:
    """
    Draw a pool for each query: one of its true sentences, and others that are not true of it.

    :param num_sentences: That there are to draw from; no pool has one of them twice.
    :return: Rows, ``[Q, size]``, the true one first.
    :raises ValueError: If there are not enough sentences, or as for ``truths`` of ``retrieval``.
    """
    generator = np.random.default_rng(seed)
    lists = checked(truths, len(truths), num_sentences)
    pools = np.empty((len(lists), size), np.int64)
    for query, true in enumerate(lists):
        num_false = num_sentences - len(true)
        if not 2 <= size <= num_false + 1:
            raise ValueError(
                f'size must be from 2 to {num_false + 1}, the false sentences of query {query} '
                f'and a true one, got {size}.'
            )
        false = generator.choice(num_false, size - 1, replace=False)
        # From a number among the false ones to a row: step over the true rows before it.
        false += np.searchsorted(true - np.arange(len(true)), false, side='right')
        pools[query] = [generator.choice(true), *false]
    return pools


def random_pools(
    embeddings: np.ndarray,
    sentences: np.ndarray,
    truths: Truths,
    *,
    size: int = POOL_SIZE,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> RetrievalFigures:
    """
    Rank small random pools; each figure is the mean over draws of a new pool for each query.

    :param num_draws: How often every query gets a pool; the median is taken within each draw.
    :param seed: Of the first draw; it is the seed of :func:`pools_of`, and the next ones follow.
    :raises ValueError: As :func:`pools_of` and :func:`mtl_training.retrieval.retrieval`.
    """
    if num_draws < 1:
        raise ValueError(f'num_draws must be at least 1, got {num_draws}.')
    embeddings, sentences = checked_embeddings(embeddings, sentences)
    checked(truths, len(embeddings), len(sentences))
    seeds = range(seed, seed + num_draws)
    draws = [
        RetrievalFigures.of(
            _ranks(embeddings, sentences, pools_of(truths, len(sentences), size, one)), size
        )
        for one in seeds
    ]
    means = {name: statistics.fmean(getattr(draw, name) for draw in draws) for name in AVERAGED}
    return RetrievalFigures(pool=size, queries=len(embeddings), **means)


def _ranks(embeddings: np.ndarray, sentences: np.ndarray, pools: np.ndarray) -> np.ndarray:
    ranks = []
    for start in range(0, len(pools), QUERIES_AT_A_TIME):
        part = slice(start, start + QUERIES_AT_A_TIME)
        # A sum of products, other than a matrix product, rounds equal sentences equally.
        similarities = (embeddings[part, None] * sentences[pools[part]]).sum(-1)
        ranks.append(rank_of_truth(similarities, [[0]] * len(similarities)))
    return np.concatenate(ranks)
