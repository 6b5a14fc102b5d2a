"""Optimiser, learning-rate schedule and what is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import math

from mtl_training.config import OptimiserConfig
from mtl_training.tables import nearest
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, AdamW, Optimizer

OPTIMISERS: dict[str, type[Adam]] = {'adam': Adam, 'adamw': AdamW}


def build_optimiser(
    config: OptimiserConfig, network: nn.Module, extra: Iterable[nn.Parameter] = ()
) -> Optimizer:
    """
    Build the optimiser; weight decay spares biases, norms and the parameters of the weighting.

    :param extra: Parameters outside the network, those that a weighting learns.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {'params': [p for p in trained if p.ndim > 1], 'weight_decay': config.weight_decay},
        {'params': [p for p in trained if p.ndim <= 1], 'weight_decay': 0.0},
        {'params': list(extra), 'weight_decay': 0.0},
    ]
    return OPTIMISERS[config.name]([g for g in groups if g['params']], lr=config.lr)


def learning_rate(config: OptimiserConfig, iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration; a function of its number, so it has no state."""
    if iteration < config.warmup:
        return config.lr * (iteration + 1) / config.warmup
    if config.schedule == 'constant':
        return config.lr
    progress = (iteration - config.warmup) / max(1, iterations - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_lr + (config.lr - config.final_lr) * cosine


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group['lr'] = rate


def freeze_stages(trunks: nn.Module, stages: Sequence[str], trainable: Sequence[str]) -> None:
    """
    Stop the gradients of all stages but some.

    :param trunks: Where the stages are, under any name that ends in theirs.
    :param stages: All stage names of the backbones.
    :raises ValueError: If a stage to train does not exist.
    """
    for name in trainable:
        if name not in stages:
            raise ValueError(f"trainable_stages: no stage '{name}'. {nearest(name, stages)}")
    for name, parameter in trunks.named_parameters():
        path = name.split('.')
        if any(stage in path for stage in stages if stage not in trainable):
            parameter.requires_grad_(False)


def set_train_mode(network: nn.Module, *, freeze_batch_norm: bool) -> None:
    """Put the network into training mode, but for the norms whose statistics must not move."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            frozen = module.weight is not None and not module.weight.requires_grad
            if freeze_batch_norm or frozen:
                module.eval()
