"""Accuracy by clips, and by the videos that the clips are of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def hit_at_1(scores: Tensor, labels: Tensor) -> float:
    """
    Return the share of clips whose highest score is that of their label.

    :param scores: Logits, ``[N, C]``; of equal ones the first counts as the highest.
    :param labels: Label numbers, ``[N]``.
    :raises ValueError: If there is no clip, a score is not finite, or a label has no score.
    """
    _check(scores, labels)
    return float((scores.argmax(1) == labels).double().mean())


def video_accuracy(scores: Tensor, labels: Tensor, videos: Sequence[str]) -> float:
    """
    Return the share of videos whose label is most likely by the mean of their clips.

    The mean is that of the softmax of each clip. Every video counts once, however many clips it
    has.

    :param scores: Logits, ``[N, C]``.
    :param labels: Label numbers, ``[N]``, the same for all clips of a video.
    :param videos: The name of each clip's video, N of them, in any order.
    :raises ValueError: As :func:`hit_at_1`; if the clips of a video have several labels.
    """
    _check(scores, labels)
    names, probabilities = video_probabilities(scores, videos)
    label_of: dict[str, int] = {}
    for video, label in zip(videos, labels.tolist()):
        if label_of.setdefault(video, label) != label:
            raise ValueError(
                f'labels must be the same for all clips of a video, got {label_of[video]} and '
                f"{label} for '{video}'."
            )
    return hit_at_1(probabilities, torch.tensor([label_of[name] for name in names]))


def video_probabilities(scores: Tensor, videos: Sequence[str]) -> tuple[list[str], Tensor]:
    """
    Return the mean of the softmax of each video's clips.

    :param scores: Logits, ``[N, C]``.
    :param videos: The name of each clip's video, N of them.
    :return: The names of the V videos in the order of their first clips, and float64 ``[V, C]``
        on the CPU.
    :raises ValueError: If there is not one name per clip.
    """
    if len(videos) != len(scores):
        raise ValueError(f'videos must be of {len(scores)} clips, got {len(videos)}.')
    names = list(dict.fromkeys(videos))
    place = {name: i for i, name in enumerate(names)}
    group = torch.tensor([place[video] for video in videos], dtype=torch.long)
    sums = torch.zeros(len(names), scores.shape[1], dtype=torch.float64)
    sums.index_add_(0, group, scores.detach().cpu().double().softmax(1))
    return names, sums / torch.bincount(group, minlength=len(names)).unsqueeze(1)


def _check(scores: Tensor, labels: Tensor) -> None:
    if scores.ndim != 2 or not len(scores) or labels.shape != scores.shape[:1]:
        raise ValueError(
            'scores and labels must be [N, C] and [N] of at least one clip, got '
            f'{list(scores.shape)} and {list(labels.shape)}.'
        )
    wrong_scores = scores[~scores.isfinite()]
    if len(wrong_scores):
        raise ValueError(f'scores must be finite, got {float(wrong_scores[0])}.')
    wrong = labels[(labels < 0) | (labels >= scores.shape[1])]
    if len(wrong):
        raise ValueError(f'labels must be from 0 to {scores.shape[1] - 1}, got {int(wrong[0])}.')
