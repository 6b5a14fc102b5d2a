"""Optimiser, learning-rate schedule and what is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
from typing import Any

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.config import OptimiserConfig
from mtl_training.tables import nearest
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, AdamW, Optimizer

OPTIMISERS: dict[str, type[Adam]] = {'adam': Adam, 'adamw': AdamW}


def build_optimiser(
    config: OptimiserConfig,
    network: nn.Module,
    extra: Iterable[nn.Parameter] = (),
    multipliers: Iterable[tuple[nn.Parameter, float]] = (),
) -> Optimizer:
    """
    Build the optimiser; weight decay spares biases, norms and whatever steers the sharing.

    :param extra: Parameters outside the network, those that a weighting or a regime learns.
    :param multipliers: Parameters of the network whose learning rate is a multiple of the common.
    """
    factors = {id(parameter): factor for parameter, factor in multipliers}
    trained = [p for p in network.parameters() if p.requires_grad]
    plain = [p for p in trained if id(p) not in factors]
    groups: list[dict[str, Any]] = [
        {'params': [p for p in plain if p.ndim > 1], 'weight_decay': config.weight_decay},
        {'params': [p for p in plain if p.ndim <= 1]},
        {'params': list(extra)},
    ]
    for factor in sorted(set(factors.values())):
        own = [p for p in trained if factors.get(id(p)) == factor]
        groups.append({'params': own, 'rate_multiplier': factor})
    groups = [{'weight_decay': 0.0, 'rate_multiplier': 1.0, **g} for g in groups if g['params']]
    optimiser = OPTIMISERS[config.name](groups, lr=config.lr)
    set_learning_rate(optimiser, config.lr)
    return optimiser


def learning_rate(config: OptimiserConfig, iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration; a function of its number, so it has no state."""
    if iteration < config.warmup:
        return config.lr * (iteration + 1) / config.warmup
    if config.schedule == 'step':
        # The source's rule, equation 5: iterations, not epochs.
        return config.lr * config.gamma ** (iteration // config.step_iters)
    if config.schedule != 'cosine':
        return config.lr
    progress = (iteration - config.warmup) / max(1, iterations - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr + (config.lr - config.final_lr) * cosine


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters; some have a multiple of it."""
    for group in optimiser.param_groups:
        group['lr'] = rate * group['rate_multiplier']


def freeze_stages(
    copies: Iterable[tuple[str, nn.Module]], stages: Sequence[str], trainable: Sequence[str]
) -> None:
    """
    Stop the gradients of all stages but some.

    :param copies: The parts of a trunk, as :meth:`SharingMethod.copies` returns them.
    :param stages: All stage names of the backbone.
    :raises ValueError: If a stage to train does not exist.
    """
    for name in trainable:
        if name not in stages:
            raise ValueError(f"trainable_stages: no stage '{name}'. {nearest(name, stages)}")
    for path, module in copies:
        if path.partition('.')[0] not in trainable:
            module.requires_grad_(False)


def set_train_mode(
    network: MultiTaskNetwork, *, freeze_batch_norm: bool, frozen: Iterable[nn.Module] = ()
) -> None:
    """
    Put the network into training mode, but for the norms whose statistics must not move.

    :param freeze_batch_norm: Keep the statistics of the backbone's norms, those that initial
        weights bring along; norms that a sharing method adds have none to keep.
    :param frozen: Parts that are in evaluation mode: no dropout either.
    """
    network.train()
    for module in frozen:
        module.eval()
    if freeze_batch_norm:
        for method in network.sharing_methods:
            for _, module in method.copies():
                for norm in _batch_norms(module):
                    norm.eval()
    for norm in _batch_norms(network):
        if norm.weight is not None and not norm.weight.requires_grad:
            norm.eval()


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


@dataclass(slots=True)
class Plateau:
    """
    Reductions of the learning rate when the validation loss no longer falls; survives a resume.

    :param factor: On the learning rate, so far.
    :param lowest: Loss so far; None before the first validation.
    :param bad: Validations since.
    """

    factor: float = 1.0
    lowest: float | None = None
    bad: int = 0

    def update(self, loss: float, config: OptimiserConfig) -> None:
        """Take in the loss of a validation."""
        if self.lowest is None or loss < self.lowest - 1e-4 * abs(self.lowest):
            self.lowest, self.bad = loss, 0
            return
        self.bad += 1
        if config.schedule == 'plateau' and self.bad > config.patience:
            self.factor, self.bad = self.factor * config.gamma, 0
