"""Average precision of labels of which an image can have several."""

from __future__ import annotations

from dataclasses import dataclass
import statistics
from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal['none', 'all_points', 'eleven_points']
INTERPOLATIONS: tuple[Interpolation, ...] = ('none', 'all_points', 'eleven_points')


@dataclass(frozen=True, slots=True)
class AveragePrecisions:
    """
    Average precision per class, and its mean.

    :param per_class: In [0, 1]; None of a class without positives, ``[C]``.
    """

    per_class: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """Return the mean over the classes with positives, mAP; None if there are none."""
        known = [value for value in self.per_class if value is not None]
        return statistics.fmean(known) if known else None

    @property
    def left_out(self) -> tuple[int, ...]:
        """Return the numbers of the classes without positives, which the mean leaves out."""
        return tuple(i for i, value in enumerate(self.per_class) if value is None)


def mean_average_precision(
    scores: Tensor,
    positives: Tensor,
    ignored: Tensor | None = None,
    *,
    interpolation: Interpolation = 'all_points',
) -> AveragePrecisions:
    """
    Return the average precision of each class over images ranked by its score.

    Precision at a recall is, by ``interpolation``, ``'all_points'``: the highest at that recall or
    beyond (Pascal VOC since 2010, Everingham et al., IJCV 2015); ``'eleven_points'``: the same at
    the recalls 0, 0.1, ..., 1 only (VOC 2007); ``'none'``: the one where the recall is reached
    first, the plain sum of precision times gain in recall. Unlike in VOC's development kit, equal
    scores are one step of the curve, so the order of the images has no influence.

    :param scores: The higher, the more likely, ``[N, C]``.
    :param positives: Bool, ``[N, C]``.
    :param ignored: Bool, ``[N, C]``: those count neither for nor against, as if their image was
        not there for this class (VOC's "difficult" objects).
    :raises ValueError: If the shapes differ, a score is not a number, an entry is both positive
        and ignored, or the interpolation is unknown.
    """
    if ignored is None:
        ignored = torch.zeros_like(positives, dtype=torch.bool)
    _check(scores, positives, ignored)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {list(INTERPOLATIONS)}, got '{interpolation}'."
        )
    scores, positives, counted = scores.cpu(), positives.cpu().bool(), ~ignored.cpu().bool()
    values = []
    for number in range(scores.shape[1]):
        rows = counted[:, number]
        values.append(
            _average_precision(scores[rows, number], positives[rows, number], interpolation)
        )
    return AveragePrecisions(tuple(values))


def _average_precision(
    scores: Tensor, is_positive: Tensor, interpolation: Interpolation
) -> float | None:
    total = int(is_positive.sum())
    if not total:
        return None
    scores, order = scores.sort(descending=True)
    is_last = torch.ones(len(scores), dtype=torch.bool)  # of its equals
    is_last[:-1] = scores[1:] != scores[:-1]
    found = is_last.nonzero()[:, 0] + 1
    hits = is_positive[order].long().cumsum(0)[is_last]
    precision = hits.double() / found
    if interpolation != 'none':
        precision = precision.flip(0).cummax(0).values.flip(0)
    if interpolation == 'eleven_points':
        # Whole numbers, for 3 * 0.1 is more than 3 hits of 10.
        points = torch.searchsorted(10 * hits, torch.arange(11) * total)
        return float(precision[points].mean())
    gains = hits.diff(prepend=hits.new_zeros(1))
    return float((gains * precision).sum() / total)


def _check(scores: Tensor, positives: Tensor, ignored: Tensor) -> None:
    if scores.ndim != 2 or positives.shape != scores.shape or ignored.shape != scores.shape:
        raise ValueError(
            'scores, positives and ignored must be [N, C], got '
            f'{list(scores.shape)}, {list(positives.shape)} and {list(ignored.shape)}.'
        )
    if scores.isnan().any():
        raise ValueError('scores must be numbers, got nan.')
    both = (positives.bool() & ignored.bool()).nonzero()
    if len(both):
        raise ValueError(
            f'ignored must not be positive as well, got both at {both[0].tolist()} of [N, C].'
        )
