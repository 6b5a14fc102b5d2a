"""Fitting relevance heads and temperatures to a trained network."""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import replace
import math
from typing import NamedTuple

from mtl_perception.network.heads import RelevanceHead
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.relevance.features import Features
import torch
from torch import Tensor
from torch.nn import functional

# Of class scores; what lies beyond is a sign of broken logits, not of a calibration.
TEMPERATURES = (0.05, 20.0)
# Of relevance logits of unit deviation.
MIN_SCALE = 0.01


class Affine(NamedTuple):
    """A function of features, ``x @ weight + bias``."""

    weight: Tensor  # [D]
    bias: Tensor  # []

    def __call__(self, features: Tensor) -> Tensor:
        """Return ``[N]`` from ``[N, D]``."""
        return features.to(self.weight) @ self.weight + self.bias


def with_relevance(
    network: MultiTaskNetwork, train: Features, val: Features, *, l2: float = 1e-4
) -> MultiTaskNetwork:
    """
    Return a copy of a trained network with a fitted relevance head for every task of labels.

    The heads separate each task's own clips of the training split from all others; on the
    validation split their logits and the temperature of the class scores are calibrated. The mix
    of clips there is taken for that of the scenes to come.

    :param network: Its weights stay as they are.
    :param l2: Weight decay of the heads, on standardised features.
    :raises ValueError: If there is no task of labels, or all clips belong to one task: nothing
        shows what it is not.
    """
    fitted = copy.deepcopy(network)
    config = network.config
    clip_tasks = [name for name, task in config.tasks.items() if task.kind == 'classification']
    if not clip_tasks:
        raise ValueError('relevance is for tasks of labels, the network has none.')
    tasks = {name: replace(config.tasks[name], relevance=True) for name in clip_tasks}
    fitted.config = replace(config, tasks={**config.tasks, **tasks})
    device = next(network.parameters()).device
    for task in clip_tasks:
        head = _fitted_head(network, task, train, val, l2)
        fitted.relevance[task] = head.to(device).train(network.training)
    return fitted


def _fitted_head(
    network: MultiTaskNetwork, task: str, train: Features, val: Features, l2: float
) -> RelevanceHead:
    labels = len(network.config.tasks[task].labels)
    features, answers = train.mixed(task, labels)
    relevance = fit_logistic(features, answers != labels, l2=l2)
    features, answers = val.mixed(task, labels)
    scale, shift = fit_platt(relevance(features), answers != labels)
    own, truth = val.own(task)
    with torch.no_grad():
        classifier = network.heads[task]
        logits = classifier(own.to(next(classifier.parameters()))).cpu()
    head = RelevanceHead(features.shape[1])
    head.weight.copy_(scale * relevance.weight)
    head.bias.copy_(scale * relevance.bias + shift)
    head.temperature.fill_(fit_temperature(logits, truth))
    for values in head.buffers():
        # Checkpoints may be stored in half precision: what is judged is what they will hold.
        stored = values.half().float()
        values.copy_(torch.where(stored.isfinite(), stored, values))
    return head


def fit_logistic(features: Tensor, targets: Tensor, *, l2: float) -> Affine:
    """
    Fit a logistic regression.

    :param features: ``[N, D]``.
    :param targets: Which of them are positive, bool ``[N]``.
    :param l2: The mean loss is increased by half of this times the squared norm of the weights on
        standardised features.
    :return: The logit, of features as they are; float64.
    :raises ValueError: If all targets are equal.
    """
    if targets.all() or not targets.any():
        raise ValueError(
            'relevance needs clips that belong to a task and clips that do not, got only '
            f'{"the former" if targets.all() else "the latter"}; name a second task or a '
            'background, as in --relevance.background.nothing.dataset folder.'
        )
    features = features.double()
    mean = features.mean(0)
    # A feature that never changes, as of a dead channel, tells nothing: it gets the weight 0.
    std = features.std(0)
    factor = torch.where(std > 1e-6 * (1 + mean.abs()), 1 / std, torch.zeros_like(std))
    standardised = (features - mean) * factor
    weight = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        logits = standardised @ weight + bias
        nll = functional.binary_cross_entropy_with_logits(logits, targets.double())
        return nll + l2 / 2 * weight.square().sum()

    _minimise(loss, [weight, bias])
    scaled = weight.detach() * factor
    return Affine(scaled, bias.detach() - scaled @ mean)


def fit_platt(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """
    Calibrate logits (Platt, Probabilistic Outputs for Support Vector Machines, 1999).

    His targets are a little off 0 and 1, so that separable clips give finite numbers.

    :param logits: ``[N]``.
    :param targets: Which of them are positive, bool ``[N]``.
    :return: Scale, always positive, and shift that make ``sigmoid(scale * logit + shift)`` a
        probability; where the logits order these clips the wrong way round, nearly a constant.
    """
    positive = int(targets.sum())
    negative = len(targets) - positive
    soft = torch.where(
        targets,
        torch.tensor((positive + 1) / (positive + 2), dtype=torch.float64),
        torch.tensor(1 / (negative + 2), dtype=torch.float64),
    )
    # In units of their own size, the logits leave a well-conditioned problem.
    size = logits.double().std().clamp_min(1e-6)
    x = logits.double() / size
    scale, shift = _platt(x, soft)
    if scale < MIN_SCALE:
        # Convex: on the bound, then. A negative scale would take back what the head has learnt.
        scale, shift = MIN_SCALE, _platt(x, soft, MIN_SCALE)[1]
    return scale / float(size), shift


def _platt(x: Tensor, targets: Tensor, fixed_scale: float | None = None) -> tuple[float, float]:
    scale = torch.tensor(fixed_scale or 1.0, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    _minimise(
        lambda: functional.binary_cross_entropy_with_logits(scale * x + shift, targets),
        [shift] if fixed_scale else [scale, shift],
    )
    return float(scale.detach()), float(shift.detach())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """
    Return the temperature of least loss (Guo et al., On Calibration of Modern Neural Networks).

    The loss is convex in the inverse of the temperature, so that a golden-section search finds
    its one minimum within :data:`TEMPERATURES`.

    :param logits: ``[N, C]``.
    :param labels: ``[N]``.
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(log_temperature), labels))

    low, high = (math.log(bound) for bound in TEMPERATURES)
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        step = golden * (high - low)
        if loss(high - step) <= loss(low + step):
            high = low + step
        else:
            low = high - step
    return math.exp((low + high) / 2)


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Minimise a smooth convex loss over its few parameters."""
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=500,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        line_search_fn='strong_wolfe',
    )

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    optimiser.step(closure)
