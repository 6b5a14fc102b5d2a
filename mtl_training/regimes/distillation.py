"""What an output that was recorded asks a later one to be: knowledge distillation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

DISTANCES = ('kd', 'l1', 'l2')


def softened(probabilities: Tensor, temperature: float) -> Tensor:
    """
    Return ``p_k^(1/T) / sum_j p_j^(1/T)`` of each row.

    Hinton et al., Distilling the Knowledge in a Neural Network (2015); Li and Hoiem, Learning
    without Forgetting (2016), equation 2.

    :param probabilities: ``[N, C]``.
    """
    # The logarithm of a probability of 0 must not become infinite on the way.
    return (
        probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log() / temperature
    ).softmax(1)


def distillation(
    logits: Tensor,
    recorded: Tensor,
    *,
    temperature: float = 2.0,
    distance: str = 'kd',
    scale_by_square: bool = False,
) -> Tensor:
    """
    Return how far the outputs of a task of labels have moved from those that were recorded.

    :param logits: ``[N, C]``.
    :param recorded: Probabilities, ``[N, C]``.
    :param temperature: Of both, for ``kd``.
    :param distance: kd: cross-entropy of the softened outputs; l1, l2: sum of the absolute, of the
        squared differences between probabilities.
    :param scale_by_square: Multiply kd by T^2, so that its gradient does not shrink with T.
    :return: ``[N]``, float32.
    """
    logits, recorded = logits.float(), recorded.detach().float()
    if distance == 'kd':
        target = softened(recorded, temperature)
        losses = -(target * log_softmax(logits / temperature, 1)).sum(1)
        return losses * temperature**2 if scale_by_square else losses
    difference = logits.softmax(1) - recorded
    return difference.abs().sum(1) if distance == 'l1' else difference.square().sum(1)


def embedding_distance(vectors: Tensor, recorded: Tensor) -> Tensor:
    """
    Return the negative cosine of unit vectors with recorded ones, ``[N]``, float32.

    :param vectors: ``[N, E]``.
    :param recorded: ``[N, E]``.
    """
    return -(vectors.float() * recorded.detach().float()).sum(1)
