"""The nearest embeddings of a list, with ties in the order of the list."""

from __future__ import annotations

import torch
from torch import Tensor

# Matrix products of unit vectors are off by a thousandth at most, in TF32.
_MARGIN = 4e-3


def nearest_rows(embeddings: Tensor, pool: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """
    Return the rows of a pool that are nearest to each embedding by their cosine.

    Equal cosines come in the order of the pool. A matrix product does not give equal rows of the
    pool equal cosines everywhere, so that the ones that may be among the first are computed again,
    each in the same way and in double precision.

    :param embeddings: Unit vectors, ``[B, E]``.
    :param pool: Unit vectors, ``[N, E]``, on the same device.
    :param k: How many; all of them if the pool has fewer.
    :return: Cosines, float32, and rows of the pool, each ``[B, min(k, N)]``, best first.
    :raises ValueError: If the shapes do not fit, ``k`` is not positive or there is no pool.
    """
    if pool.ndim != 2 or not len(pool):
        raise ValueError(f'pool must be [N, E] with N positive, got {tuple(pool.shape)}.')
    if embeddings.ndim != 2 or embeddings.shape[1] != pool.shape[1]:
        raise ValueError(
            f'embeddings must be [B, {pool.shape[1]}], got {tuple(embeddings.shape)}.'
        )
    if k < 1:
        raise ValueError(f'k must be positive, got {k}.')
    if not embeddings.isfinite().all():
        raise ValueError('embeddings must be finite.')
    k = min(k, len(pool))
    rough = embeddings.float() @ pool.float().T
    least = rough.topk(k).values[:, -1] - _MARGIN
    cosines = rough.new_empty(len(embeddings), k)
    rows = torch.empty_like(cosines, dtype=torch.long)
    for i, embedding in enumerate(embeddings):
        candidates = (rough[i] >= least[i]).nonzero()[:, 0]
        exact = (pool[candidates].double() * embedding.double()).sum(dim=1).float()
        order = exact.sort(descending=True, stable=True).indices[:k]
        cosines[i], rows[i] = exact[order], candidates[order]
    return cosines, rows
