"""How many edits turn one sequence of labels into another, for many sequences at once."""

from __future__ import annotations

import torch
from torch import Tensor


def edit_distances(first: Tensor, second: Tensor, lengths: Tensor) -> Tensor:
    """
    Return the Levenshtein distances of pairs of sequences of the same length.

    Rows of the table of Wagner and Fischer (1974), for all pairs at once: insertion, deletion and
    substitution cost 1.

    :param first: Labels, ``[M, L]``.
    :param second: Labels, ``[M, L]``.
    :param lengths: How many labels of each pair count, from 0 to L; ``[M]``.
    :return: int64 ``[M]``.
    """
    count, length = first.shape
    places = torch.arange(length + 1, device=first.device)
    row = places.repeat(count, 1)  # from nothing to the beginnings of the second
    # A table's inner entries don't depend on what comes later: shorter pairs end on the diagonal.
    diagonal = [row[:, 0]]
    for i in range(length):
        replaced = row[:, :-1] + (first[:, i, None] != second)
        best = torch.minimum(row[:, 1:] + 1, replaced)
        best = torch.cat([row[:, :1] + 1, best], dim=1)
        # Entry j by insertions after entry j' <= j costs j - j' more.
        row = (best - places).cummin(1).values + places
        diagonal.append(row[:, i + 1])
    return torch.stack(diagonal, dim=1).gather(1, lengths[:, None])[:, 0]


def best_distances(samples: Tensor, truth: Tensor, unknown: int = -1) -> Tensor:
    """
    Return the smallest normalised edit distance of several guesses at a sequence.

    Grauman et al., Ego4D (CVPR 2022), edit distance at Z: labels of the truth that nobody knows
    count on neither side.

    :param samples: Guesses, ``[K, B, Z]``.
    :param truth: ``[B, Z]``.
    :param unknown: What stands in the truth for labels that nobody knows.
    :return: float32 ``[B]``, from 0 to 1; 0 where nothing is known.
    """
    known = truth != unknown
    # Known labels first, in their order.
    order = (~known).long().argsort(dim=1, stable=True)
    truth = truth.gather(1, order).expand_as(samples)
    samples = samples.gather(2, order.expand_as(samples))
    lengths = known.sum(1).expand(samples.shape[:2])
    found = edit_distances(samples.flatten(0, 1), truth.flatten(0, 1), lengths.flatten())
    shares = found.view(lengths.shape) / lengths.clamp_min(1)
    return shares.min(0).values
