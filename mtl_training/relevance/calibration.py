"""From a trained network and its data sets to one that knows what is none of its business."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.config import RelevanceConfig
from mtl_training.relevance.features import collect_features, Features
from mtl_training.relevance.fitting import with_relevance
from mtl_training.relevance.scenes import evaluate_scenes, SceneEvaluation
from mtl_training.relevance.sources import Sources
import torch


def calibrate(
    network: MultiTaskNetwork,
    sources: Mapping[str, Sources],
    config: RelevanceConfig,
    *,
    split: str = 'test',
    batch_size: int = 32,
    device: torch.device | None = None,
    workers: int = 0,
    on_batch: Callable[[str, int], None] = lambda source, clips: None,
) -> tuple[MultiTaskNetwork, SceneEvaluation]:
    """
    Fit relevance heads and temperatures to a network, and judge them on mixed scenes.

    :param network: As trained; stays as it is.
    :param sources: Of the splits train and val, which are fitted to, and of the one to judge on.
    :param split: The split to judge on; where it is one of the former, the figures say so.
    :return: A copy of the network with the heads, and what its scores are worth.
    :raises ValueError: If all clips belong to one task.
    """
    deployed = network.deploy().to(device or torch.device('cpu'))

    def collect(name: str, max_clips: int | None) -> Features:
        return collect_features(
            deployed,
            sources[name],
            max_clips=max_clips,
            batch_size=batch_size,
            device=device,
            workers=workers,
            on_batch=on_batch,
        )

    train, val = (collect(name, config.max_clips) for name in ('train', 'val'))
    fitted = with_relevance(network, train, val, l2=config.l2)
    scenes = val if split == 'val' else collect(split, None)
    return fitted, evaluate_scenes(fitted, scenes, split=split)
