"""A small network on disk."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
import sys
from typing import cast

from mtl_perception.checkpoint import load_network, save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.heads import RelevanceHead
from mtl_perception.network.multitask import MultiTaskNetwork
import pytest
import torch

# Test files are modules of no package (import mode importlib); this lets them share helpers.
sys.path.append(str(Path(__file__).parent))

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


@pytest.fixture(scope='session')
def doubting_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same network with a gesture that is relevant with a probability of 0.3."""
    plain, _ = load_network(checkpoint)
    tasks = {n: replace(t, relevance=n == 'gesture') for n, t in CONFIG.tasks.items()}
    network = MultiTaskNetwork(replace(CONFIG, tasks=tasks))
    network.load_state_dict(plain.state_dict(), strict=False)
    cast('RelevanceHead', network.relevance['gesture']).bias.fill_(math.log(0.3 / 0.7))
    path = tmp_path_factory.mktemp('checkpoint') / 'doubting.safetensors'
    save_checkpoint(path, network, metrics={}, training={})
    return path
