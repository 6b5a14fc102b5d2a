"""What a network config learns before its network is built: from a checkpoint and the regime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.network.config import NetworkConfig
from mtl_training.config import TrainingConfig
from mtl_training.regimes import REGIMES
from mtl_training.tables import choose


def complete_network(
    config: TrainingConfig, network: NetworkConfig, datasets: Mapping[str, Any]
) -> NetworkConfig:
    """
    Return a network config with all that the run needs of it.

    Tasks without data take their labels and settings from the checkpoint that the run starts from.

    :param network: With the labels of the data sets.
    :param datasets: Of the training split, or what has the concepts of such.
    :raises ValueError: If the checkpoint lacks a task without data, or the regime can't do with
        the network.
    """
    path = config.init_checkpoint
    origin = None if path is None else load_checkpoint(path).config
    tasks = dict(network.tasks)
    for name in tasks.keys() - datasets.keys():
        theirs = origin.tasks.get(name) if origin else None
        if theirs is None or theirs.kind != tasks[name].kind:
            raise ValueError(
                f"data must name a data set for task '{name}', which init_checkpoint '{path}' "
                f'does not have as one of kind {tasks[name].kind}.'
            )
        tasks[name] = replace(tasks[name], labels=theirs.labels, groups=theirs.groups)
    regime = choose(REGIMES, config.regime.name, 'regime')
    complete = replace(network, tasks=tasks)
    return regime.complete(complete, datasets, config.regime.settings, origin)
