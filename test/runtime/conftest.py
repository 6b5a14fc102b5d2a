"""A small network on disk."""

from __future__ import annotations

from pathlib import Path

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.multitask import MultiTaskNetwork
import pytest
import torch

TRUNK = TrunkConfig(
    width=4,
    num_frames=4,
    clip_seconds=0.5,
    preprocessing=PreprocessingConfig(resize=(32, 40), crop=(32, 32)),
)
CONFIG = NetworkConfig(
    trunks={'clip': TRUNK, 'unused': TrunkConfig()},
    tasks={
        'action': TaskConfig(labels=('walk', 'run', 'sit')),
        'gesture': TaskConfig(labels=('wave', 'stop')),
    },
)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a checkpoint with random weights, for two tasks."""
    path = tmp_path_factory.mktemp('checkpoint') / 'small.safetensors'
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    network = MultiTaskNetwork(CONFIG)
    torch.set_rng_state(generator_state)
    save_checkpoint(path, network, metrics={}, training={})
    return path
