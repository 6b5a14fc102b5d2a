"""A small network that tells captions, alone or beside actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import (
    NetworkConfig,
    PreprocessingConfig,
    TaskConfig,
    TrunkConfig,
)
from mtl_perception.network.multitask import MultiTaskNetwork
import torch

DIM = 16
HASHED = {'name': 'hashed'}
SENTENCES = ('a man walks', 'a woman waves her hand', 'somebody sits down', 'nobody is there')


def write_caption_checkpoint(
    path: Path, *, actions: bool = False, encoder: dict[str, Any] | None = None
) -> Path:
    """Write random weights whose captions depend on what is seen."""
    trunk = TrunkConfig(
        width=4,
        num_frames=4,
        clip_seconds=0.5,
        preprocessing=PreprocessingConfig(resize=(32, 32)),
    )
    settings = {'dim': DIM, 'encoder': encoder or HASHED}
    tasks = {'caption': TaskConfig(kind='caption', settings=settings)}
    if actions:
        tasks['action'] = TaskConfig(labels=('walk', 'run', 'sit'))
    state = torch.get_rng_state()
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig(trunks={'clip': trunk}, tasks=tasks))
    torch.set_rng_state(state)
    save_checkpoint(path, network, metrics={}, training={})
    return path
