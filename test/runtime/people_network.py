"""Networks that find people, small enough for a test."""

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

ACTIVITIES = ('walking', 'sitting', 'standing')


def people_config(
    *, fit: str = 'pad', resize: tuple[int, int] = (64, 96), history: int = 1, clips: bool = False
) -> NetworkConfig:
    """Return the config of a frame branch and, where asked for, of a clip task too."""
    trunks = {
        'frames': TrunkConfig(
            backbone='resnet2d', width=4, preprocessing=PreprocessingConfig(resize=resize, fit=fit)
        )
    }
    settings: dict[str, dict[str, Any]] = {
        'detection': {'channels': 8, 'num_convs': 1, 'max_candidates': 50},
        'keypoints': {'pyramid_channels': 8, 'channels': 4},
        'association': {'height': 14, 'width': 9, 'hidden': 8, 'window': 5},
        'activity': {'hidden': (8, 8), 'history': history, 'history_seconds': 0.4},
    }
    labels = {'activity': ACTIVITIES}
    tasks = {
        kind: TaskConfig(kind=kind, trunk='frames', labels=labels.get(kind, ()), settings=values)
        for kind, values in settings.items()
    }
    if clips:
        trunks['clip'] = TrunkConfig(
            width=4,
            num_frames=4,
            clip_seconds=0.5,
            preprocessing=PreprocessingConfig(resize=(32, 32)),
        )
        tasks['action'] = TaskConfig(labels=('walk', 'run'))
    return NetworkConfig(trunks=trunks, tasks=tasks)


def write_people_checkpoint(path: Path, config: NetworkConfig, *, seed: int = 0) -> Path:
    """Write random weights that find people nearly everywhere, with joints."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = MultiTaskNetwork(config)
    torch.set_rng_state(state)
    with torch.no_grad():
        tower: Any = network.heads['detection'].head.classification_head
        tower.cls_logits.weight.normal_(std=0.3)
        tower.cls_logits.bias.fill_(1.0)
        keypoints: Any = network.heads['keypoints']
        keypoints.heatmaps.weight.normal_(std=0.3)
    save_checkpoint(path, network, metrics={}, training={})
    return path
