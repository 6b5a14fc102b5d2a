"""Retrieval of sentences: how far up a query finds a true one, among how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK_BYTES = 64 * 2**20  # of similarities that are held at a time
LENGTH_TOLERANCE = 1e-3
# Of each query, the rows of its true sentences in the pool.
Truths = Sequence[Sequence[int] | np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalFigures:
    """
    What the ranks of many queries come to; nothing without the size of the pool.

    :param pool: The number of sentences that each query ranks.
    :param queries: The number of queries.
    :param r1: The share of queries with a rank of at most 1, R@1; ``r5`` and ``r10`` likewise.
    """

    pool: int
    queries: int
    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float

    @classmethod
    def of(cls, ranks: np.ndarray, pool: int) -> RetrievalFigures:
        """
        Sum up ranks.

        :param ranks: As :func:`rank_of_truth` returns them, ``[Q]``.
        :param pool: The number of sentences that were ranked.
        """
        shares = {f'r{k}': float((ranks <= k).mean()) for k in (1, 5, 10)}
        middle, mean = float(np.median(ranks)), float(ranks.mean())
        return cls(pool=pool, queries=len(ranks), **shares, median_rank=middle, mean_rank=mean)


def rank_of_truth(similarities: np.ndarray, truths: Truths) -> np.ndarray:
    """
    Return the rank of the first true sentence of each query, counted from 1.

    Sentences exactly as similar as the best true one have no order among them: the rank is the
    mean over all their orders. With ``g`` sentences that are more similar, and ``f`` false and
    ``t`` true ones that are equal, it is ``g + 1 + f / (t + 1)``; for one true sentence this is
    the mean rank of the equals. R@k compares this mean with k, so a tie that straddles the border
    counts whole if its mean rank is within, and not at all otherwise.

    :param similarities: Of queries and sentences, ``[Q, P]``.
    :param truths: At least one row per query; a row that is named twice counts once.
    :return: float64 ``[Q]``.
    :raises ValueError: If a similarity is not finite, or a query has no true sentence or one that
        is not in the pool.
    """
    similarities = np.asarray(similarities)
    if similarities.ndim != 2 or not similarities.size:
        raise ValueError(
            'similarities must be [Q, P] of at least one query and sentence, got '
            f'{list(similarities.shape)}.'
        )
    _check_finite(similarities, 'similarities')
    lists = checked(truths, *similarities.shape)
    counts = np.array([len(rows) for rows in lists])
    query, first = np.repeat(np.arange(len(lists)), counts), counts.cumsum() - counts
    of_true = similarities[query, np.concatenate(lists)]
    best = np.maximum.reduceat(of_true, first)
    equal_true = np.add.reduceat((of_true == best[query]).astype(np.int64), first)
    more = np.count_nonzero(similarities > best[:, None], axis=1)
    equal = np.count_nonzero(similarities == best[:, None], axis=1)
    return 1 + more + (equal - equal_true) / (equal_true + 1)


def retrieval(embeddings: np.ndarray, pool: np.ndarray, truths: Truths) -> RetrievalFigures:
    """
    Rank all sentences of a pool by cosine for each query.

    The similarities are float32 and held in parts, so the pool can have any size. The same
    embedding twice in the pool has the same similarity to the last bit, and so makes a tie.

    :param embeddings: Of the queries, unit vectors, ``[Q, E]``.
    :param pool: Of the sentences, unit vectors, ``[P, E]``.
    :param truths: As for :func:`rank_of_truth`.
    :raises ValueError: As :func:`rank_of_truth`; if the widths differ or a vector of the pool is
        not one of length 1.
    """
    embeddings, pool = checked_embeddings(embeddings, pool)
    lists = checked(truths, len(embeddings), len(pool))
    # A matrix product may round two equal columns differently, according to their places.
    distinct, group = _distinct(pool)
    step = max(1, CHUNK_BYTES // (4 * len(pool)))
    ranks = []
    for start in range(0, len(embeddings), step):
        part = slice(start, start + step)
        similarities = embeddings[part] @ distinct.T
        if len(distinct) < len(pool):
            similarities = similarities[:, group]
        ranks.append(rank_of_truth(similarities, lists[part]))
    return RetrievalFigures.of(np.concatenate(ranks), len(pool))


def checked(truths: Truths, num_queries: int, num_sentences: int) -> list[np.ndarray]:
    """
    Return the true rows of each query in ascending order, each once.

    :raises ValueError: If a query has none, or one that is not in the pool.
    """
    if len(truths) != num_queries:
        raise ValueError(f'truths must be of {num_queries} queries, got {len(truths)}.')
    lists = [np.unique(np.asarray(rows, dtype=np.int64)) for rows in truths]
    for query, rows in enumerate(lists):
        if not len(rows):
            raise ValueError(f'truths must name a sentence for each query, got none for {query}.')
        if rows[0] < 0 or rows[-1] >= num_sentences:
            wrong = rows[0] if rows[0] < 0 else rows[-1]
            raise ValueError(
                f'truths must be rows from 0 to {num_sentences - 1}, got {wrong} for query '
                f'{query}.'
            )
    return lists


def checked_embeddings(embeddings: np.ndarray, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the embeddings of queries and of sentences as float32.

    :raises ValueError: As :func:`retrieval`.
    """
    embeddings, pool = (np.asarray(vectors, dtype=np.float32) for vectors in (embeddings, pool))
    shapes = embeddings.shape, pool.shape
    if (
        embeddings.ndim != 2
        or pool.ndim != 2
        or shapes[0][1] != shapes[1][1]
        or 0 in shapes[0] + shapes[1]
    ):
        raise ValueError(
            'embeddings and pool must be [Q, E] and [P, E] of at least one vector, got '
            f'{list(shapes[0])} and {list(shapes[1])}.'
        )
    _check_finite(embeddings, 'embeddings')
    lengths = np.linalg.norm(pool, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))  # NaN is wrong as well
    if len(wrong):
        length = lengths[wrong[0]]
        raise ValueError(f'pool must have vectors of length 1, got {length:g} in row {wrong[0]}.')
    return embeddings, pool


def _distinct(pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows, and for each row which of them it is."""
    places: dict[bytes, int] = {}
    rows = pool + np.float32(0)  # makes -0.0 the 0.0 that it equals
    group = np.array([places.setdefault(row.tobytes(), len(places)) for row in rows])
    return pool[np.unique(group, return_index=True)[1]], group


def _check_finite(values: np.ndarray, name: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(f'{name} must be finite, got {values[wrong][0]}.')
