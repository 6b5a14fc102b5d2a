"""The devices that a run computes on."""

from __future__ import annotations

from typing import Any, cast

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from mtl_training.config import TrainingConfig
import torch


def build_fabric(config: TrainingConfig) -> Fabric:
    """
    Build what runs a training on the devices of a config, in its precision.

    :raises ValueError: If this machine does not have them.
    """
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    on_cpu = config.accelerator == 'cpu' or (config.accelerator == 'auto' and not has_gpu)
    if config.precision == '16-mixed' and on_cpu:
        # Fabric would take another precision instead.
        raise ValueError("precision '16-mixed' needs a GPU; a CPU can take 'bf16-mixed'.")
    try:
        return Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            precision=cast(Any, config.precision),
        )
    except (RuntimeError, MisconfigurationException) as error:
        raise ValueError(
            f"accelerator '{config.accelerator}' with {config.devices} devices can't be used: "
            f'{error}'
        ) from error
