"""The weights that a run starts from, and which of them train."""

from __future__ import annotations

from mtl_perception.checkpoint import read_state_dict
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.torchvision_weights import (
    backbones_for,
    kind_of,
    KINDS,
    load_torchvision_weights,
)
from mtl_training.config import TrainingConfig
from mtl_training.initial_checkpoint import trunks_of
from mtl_training.optimisation import freeze_stages


def initialise(network: MultiTaskNetwork, config: TrainingConfig) -> None:
    """
    Load the initial weights that the config names, and freeze the stages that it leaves out.

    Weights go into the trunks with a backbone that their file is for. The stages of trunks that
    get none all train. Trunks that ``init_checkpoint`` is to bring count as theirs.

    :raises ValueError: If the weights can't be read or do not fit, or a stage does not exist.
    """
    loaded = [] if config.init_weights is None else _load(network, config.init_weights)
    if config.init_checkpoint is not None:
        loaded += [n for n in trunks_of(config.init_checkpoint) if n in network.trunks]
    if config.trainable_stages is not None:
        trunks = dict.fromkeys(loaded or network.trunks)
        copies = [copy for name in trunks for copy in network.sharing(name).copies()]
        stages = list(dict.fromkeys(path.partition('.')[0] for path, _ in copies))
        freeze_stages(copies, stages, config.trainable_stages)
    _refuse_frozen_noise(network, config, [n for n in network.trunks if n not in loaded])


def _load(network: MultiTaskNetwork, path: str) -> list[str]:
    """Load the weights of a file into all trunks for which it is, and return their names."""
    weights = read_state_dict(path)
    kind = kind_of(weights)
    trunks = [n for n in network.trunks if network.config.trunks[n].backbone in KINDS[kind]]
    if not trunks:
        raise ValueError(
            f"init_weights '{path}' are of a {kind}, for the backbone {backbones_for(kind)}; no "
            'trunk of the network has it.'
        )
    for name in trunks:
        load_torchvision_weights(network, weights, trunk=name)
    return trunks


def _refuse_frozen_noise(
    network: MultiTaskNetwork, config: TrainingConfig, random: list[str]
) -> None:
    parts = [p for name in random for p in network.trunks[name].parameters()]
    if config.freeze_batch_norm and random:
        frozen = 'freeze_batch_norm'
    elif any(not parameter.requires_grad for parameter in parts):
        frozen = 'trainable_stages'
    else:
        return
    raise ValueError(
        f'{frozen} keeps parts of trunk {random} as they are, and without init_weights they are '
        "random: give a file of pretrained weights, such as torchvision's r3d_18-b3b3357e.pth for "
        'clips or resnet50-0676ba61.pth for frames.'
    )
