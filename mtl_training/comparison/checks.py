"""What can be wrong with a combination of methods, found before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from mtl_perception.network.config import FIXED_LABELS, GROUPED_KINDS, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.completion import complete_network
from mtl_training.config import TrainingConfig
from mtl_training.criteria import CRITERIA
from mtl_training.initial_weights import initialise
from mtl_training.regimes import build_regime
from mtl_training.weighting import build_weighting
from mtl_training.weighting.merging import merges_tasks
from mtl_training.weighting.positive_losses import check_signs
import torch

PLACEHOLDERS = ('label', 'other label')  # what the labels are, only the data sets know
MANY_CONCEPTS = tuple(f'concept {i}' for i in range(1000))  # and how many concepts there are


class MethodChecks:
    """Checks of the methods that configs name; equal networks are built once."""

    def __init__(self) -> None:
        self._built: set[str] = set()

    def check(self, config: TrainingConfig) -> None:
        """
        Build what a run would, all but its data.

        :raises ValueError: If a method, a setting or a combination of them is wrong, or the
            initial weights do not fit.
        """
        tasks, method = list(config.network.tasks), config.weighting
        weighting = build_weighting(method.name, tasks, **method.settings)
        criteria = {task: CRITERIA[facts.kind] for task, facts in config.network.tasks.items()}
        check_signs(weighting, method.name, criteria)
        merges_tasks(config.merge_tasks, weighting, method.name)
        regime = build_regime(config.regime.name, tasks, **config.regime.settings)
        regime.stages(config.iterations)
        facts = (
            config.trainable_stages,
            config.freeze_batch_norm,
            config.init_weights,
            config.init_checkpoint,
        )
        key = repr((config.network, config.regime, facts))
        if key not in self._built:
            with torch.device('meta'):  # neither memory nor time for values
                network = MultiTaskNetwork(_completed(config))
            initialise(network, config)
            self._built.add(key)


def _completed(config: TrainingConfig) -> NetworkConfig:
    unread = SimpleNamespace(concepts=MANY_CONCEPTS)
    return complete_network(config, _labelled(config.network), dict.fromkeys(config.data, unread))


def _labelled(network: NetworkConfig) -> NetworkConfig:
    tasks = dict(network.tasks)
    for name, task in network.tasks.items():
        if task.kind in GROUPED_KINDS:
            tasks[name] = replace(task, groups=task.groups or {'group': PLACEHOLDERS})
        elif not task.labels and task.kind not in FIXED_LABELS:
            tasks[name] = replace(task, labels=PLACEHOLDERS)
    return replace(network, tasks=tasks)
