"""The one network: backbones, sharing methods, heads and preprocessing; imports torch only."""

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
