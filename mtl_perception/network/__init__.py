"""The one network: backbones, sharing, heads and preprocessing; torch and torchvision only."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from mtl_perception.network.clips import clip_times
    from mtl_perception.network.config import (
        from_mapping,
        NetworkConfig,
        PreprocessingConfig,
        TaskConfig,
        to_mapping,
        TrunkConfig,
    )
    from mtl_perception.network.multitask import MultiTaskNetwork
    from mtl_perception.network.preprocessing import FramePreprocessor
    from mtl_perception.network.torchvision_weights import load_torchvision_weights

__all__ = [
    'FramePreprocessor',
    'MultiTaskNetwork',
    'NetworkConfig',
    'PreprocessingConfig',
    'TaskConfig',
    'TrunkConfig',
    'clip_times',
    'from_mapping',
    'load_torchvision_weights',
    'to_mapping',
]

# Loaded when they are asked for: torchvision, which the network needs, takes longer to import than
# what only wants a name or a number of this room, as the renderer of scenes does, takes to run.
_MODULES = {
    'FramePreprocessor': 'preprocessing',
    'MultiTaskNetwork': 'multitask',
    'NetworkConfig': 'config',
    'PreprocessingConfig': 'config',
    'TaskConfig': 'config',
    'TrunkConfig': 'config',
    'clip_times': 'clips',
    'from_mapping': 'config',
    'load_torchvision_weights': 'torchvision_weights',
    'to_mapping': 'config',
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
