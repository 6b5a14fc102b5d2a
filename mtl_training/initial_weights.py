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
    for name in network.trunks if config.trainable_stages is not None else ():
        settings = config.network.trunks[name]
        with torch.device('meta'):
            backbone = build_backbone(
                settings.backbone, depth=settings.depth, width=settings.width
            )
        stages = [stage for stage, _ in backbone.stages()]
        freeze_stages(network.sharing(name).copies(), stages, config.trainable_stages or ())
    if config.init_weights is None:
        _refuse_frozen_noise(network, config)


def _refuse_frozen_noise(network: MultiTaskNetwork, config: TrainingConfig) -> None:
    if config.freeze_batch_norm:
        frozen = 'freeze_batch_norm'
    elif any(not parameter.requires_grad for parameter in network.trunks.parameters()):
        frozen = 'trainable_stages'
    else:
        return
    raise ValueError(
        f'{frozen} keeps parts of the network as they are, and without init_weights they are '
        "random: give a file of pretrained weights, such as torchvision's r3d_18-b3b3357e.pth."
    )
