"""A small network that remembers the features of its clips, with a task of every kind."""

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
from mtl_perception.network.temporal_graph.config import GraphConfig
import torch

VERBS, NOUNS = ('take', 'cut', 'open'), ('knife', 'bread')
ACTIONS = ('walk', 'run', 'sit')
NUM_FUTURES, NUM_MOMENTS = 3, 4
STRIDE_SEC = 0.25
KINDS = ('step', 'deed', 'forecast', 'change', 'moment')


def memory_config(
    *, source: str = 'action', tasks: tuple[str, ...] = KINDS, seconds: float = 1.0
) -> NetworkConfig:
    """Return a network of an action and of the named tasks on windows."""
    groups = {'verb': VERBS, 'noun': NOUNS}
    length = {'seconds': seconds}
    of_windows = {
        'step': TaskConfig(
            kind='recognition', trunk='memory', groups=groups, settings={'num_nodes': 3, **length}
        ),
        'deed': TaskConfig(
            kind='recognition',
            trunk='memory',
            groups={'action': ACTIONS},
            settings={'num_nodes': 1, **length},
        ),
        'forecast': TaskConfig(
            kind='anticipation',
            trunk='memory',
            groups=groups,
            settings={'num_inputs': 2, 'num_futures': NUM_FUTURES, **length},
        ),
        'change': TaskConfig(
            kind='state_change', trunk='memory', settings={'num_nodes': 2, **length}
        ),
        'moment': TaskConfig(
            kind='point_of_no_return',
            trunk='memory',
            settings={'num_nodes': NUM_MOMENTS, **length},
        ),
    }
    graph = GraphConfig(
        feature_dim=32,
        num_features=2,
        width=16,
        source=source,
        stride_seconds=STRIDE_SEC,
    )
    clip = TrunkConfig(
        width=4,
        num_frames=4,
        clip_seconds=0.5,
        preprocessing=PreprocessingConfig(resize=(32, 32)),
    )
    return NetworkConfig(
        trunks={'clip': clip, 'memory': TrunkConfig(backbone='temporal_graph', graph=graph)},
        tasks={'action': TaskConfig(labels=ACTIONS), **{name: of_windows[name] for name in tasks}},
    )


def write_memory_checkpoint(
    path: Path, config: NetworkConfig | None = None, *, is_change: bool = True
) -> Path:
    """Write random weights; of a task of changes, such that there always is one, or never."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    network = MultiTaskNetwork(config or memory_config())
    torch.set_rng_state(state)
    for name, parameter in network.named_parameters():
        if name.startswith('heads.change.') and parameter.shape == (2,):
            parameter.data.copy_(torch.tensor([0.0, 5.0 if is_change else -5.0]))
    save_checkpoint(path, network, metrics={}, training={})
    return path
