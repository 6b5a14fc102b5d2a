"""A checkpoint with a clip trunk, a memory trunk and a backpack, and clips for a new task."""

from pathlib import Path
from typing import Any

import av
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
import numpy as np
import torch

DIM = 32  # of the features of the clip trunk of width 4


def memory_network(*, source: str = 'move', with_prototypes: bool = True) -> MultiTaskNetwork:
    """Return a network with random weights and prototypes."""
    torch.manual_seed(0)
    clip = {
        'width': 4,
        'num_frames': 4,
        'clip_seconds': 0.4,
        'preprocessing': {'resize': [16, 16]},
    }
    graph: dict[str, Any] = {'feature_dim': DIM, 'width': 16, 'num_layers': 1, 'source': source}
    if with_prototypes:
        graph |= {'known': ['known_move', 'known_hand'], 'concepts': ['up', 'down', 'left']}
    known = {'kind': 'recognition', 'trunk': 'memory', 'settings': {'num_nodes': 1}}
    block = {
        'trunks': {'clip': clip, 'memory': {'backbone': 'temporal_graph', 'graph': graph}},
        'tasks': {
            'move': {'labels': ['up', 'down']},
            'known_move': {**known, 'groups': {'move': ['up', 'down']}},
            'known_hand': {**known, 'groups': {'hand': ['left', 'right']}},
        },
    }
    network = MultiTaskNetwork(from_mapping(NetworkConfig, block)).eval()
    if with_prototypes:
        for task in ('known_move', 'known_hand'):
            network.prototypes['memory'].store(task, torch.randn(3, 16))  # type: ignore[operator]
    return network


def save(path: Path, network: MultiTaskNetwork) -> Path:
    save_checkpoint(path, network, metrics={'val': {'accuracy': {'move': 0.5}}}, training={})
    return path


def write_clip(path: Path, level: float, seed: int, seconds: float = 0.6) -> Path:
    """Write a video of moving noise around a level of grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=15)
        stream.width = stream.height = 16
        stream.pix_fmt, stream.bit_rate = 'yuv420p', 2_000_000
        for _ in range(round(15 * seconds)):
            picture = (level + random.normal(0, 12, (16, 16, 3))).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return path


def write_clips(folder: Path, num_clips: int = 4) -> Path:
    for label, level in (('bright', 200), ('dark', 40), ('grey', 120)):
        for i in range(num_clips):
            write_clip(folder / label / f'{i}.avi', level, seed=i, seconds=0.6 + 0.5 * i)
    return folder
