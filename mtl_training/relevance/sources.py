"""Clips of all kinds before all tasks: every data set in the shape of every trunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from mtl_perception.network.config import NetworkConfig, TaskConfig
from mtl_training.config import DataConfig
from mtl_training.data.loading import build_dataset
from mtl_training.data.sample import ClipDataset

# For each trunk, the data sets of all tasks and backgrounds in its clip length and size.
Sources = dict[str, dict[str, ClipDataset]]


def build_sources(
    network: NetworkConfig,
    data: Mapping[str, DataConfig],
    background: Mapping[str, DataConfig],
    split: str,
    **overrides: Any,
) -> Sources:
    """
    Build one split of all data sets of clips for each trunk that feeds a task of clips.

    :param data: The data sets of the tasks; those of tasks without labels are left out.
    :param background: Data sets whose clips belong to no task, by a name of their own.
    :param overrides: Settings that win over those of the config.
    :raises ValueError: If a background has the name of a task, or a data set is refused.
    """
    if both := sorted(background.keys() & network.tasks.keys()):
        raise ValueError(f"background must not have the name of a task, got '{both[0]}'.")
    labelled = {name for name, task in network.tasks.items() if task.kind == 'classification'}
    own = {name: config for name, config in data.items() if name in labelled}
    everything = {**own, **background}
    sources: Sources = {}
    for trunk in network.trunks_of('clip'):
        placed = {name: TaskConfig(trunk=trunk) for name in everything}
        shaped = replace(network, tasks=placed)
        sources[trunk] = {
            name: cast(
                'ClipDataset',
                build_dataset(name, config, split, shaped, **overrides, **_plain(config, split)),
            )
            for name, config in everything.items()
        }
    return sources


def _plain(config: DataConfig, split: str) -> dict[str, Any]:
    # Clips as they are, also where training varies them: backgrounds that nobody trains on have
    # no such variations, and a head could tell the clips of tasks by them.
    return {'augment': False} if 'augment' in config.of_split(split) else {}
