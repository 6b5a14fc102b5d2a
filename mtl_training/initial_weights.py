"""The weights that a run starts from, and which of them train."""

from __future__ import annotations

from pathlib import Path
import pickle

from mtl_perception.network.backbones import build_backbone
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_weights import load_torchvision_weights
from mtl_training.config import TrainingConfig
from mtl_training.optimisation import freeze_stages
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import Tensor


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """
    Read a state dict from a safetensors or a PyTorch file; only tensors are ever unpickled.

    :raises ValueError: If the file is missing or holds anything else.
    """
    path = Path(path)
    try:
        if path.suffix == '.safetensors':
            content = load_file(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f"Cannot read the initial weights '{path}': {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"Cannot read the initial weights '{path}': not a state dict.")
    return content


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
    for name, trunk in network.trunks.items():
        settings = config.network.trunks[name]
        with torch.device('meta'):
            backbone = build_backbone(
                settings.backbone, depth=settings.depth, width=settings.width
            )
        stages = [stage for stage, _ in backbone.stages()]
        freeze_stages(trunk, stages, config.trainable_stages)
