"""The weights that a run starts from, and which of them train."""

from __future__ import annotations

from mtl_perception.checkpoint import read_state_dict
from mtl_perception.network.backbones import build_backbone
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_weights import load_torchvision_weights
from mtl_training.config import TrainingConfig
from mtl_training.optimisation import freeze_stages
import torch


def initialise(network: MultiTaskNetwork, config: TrainingConfig) -> None:
    """
    Load the initial weights that the config names, and freeze the stages that it leaves out.

    :raises ValueError: If the weights can't be read or do not fit, or a stage does not exist.
    """
    if config.init_weights is not None:
        weights = read_state_dict(config.init_weights)
        for name in network.trunks:
            load_torchvision_weights(network, weights, trunk=name)
    if config.trainable_stages is None:
        return
    for name in network.trunks:
        settings = config.network.trunks[name]
        with torch.device('meta'):
            backbone = build_backbone(
                settings.backbone, depth=settings.depth, width=settings.width
            )
        stages = [stage for stage, _ in backbone.stages()]
        freeze_stages(network.sharing(name).copies(), stages, config.trainable_stages)
