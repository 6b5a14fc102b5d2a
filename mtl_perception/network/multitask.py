"""The one network: trunks, sharing methods and heads joined by the names of a config."""

from __future__ import annotations

from collections.abc import Mapping
import copy
from functools import partial
from typing import cast

from mtl_perception.network.backbones import build_backbone
from mtl_perception.network.config import NetworkConfig, TrunkConfig
from mtl_perception.network.heads import build_head, RelevanceHead
from mtl_perception.network.sharing import build_sharing, SampleLosses, SharingMethod
from torch import nn, Tensor
from torch.nn import functional


class MultiTaskNetwork(nn.Module):
    """
    All trunks and heads that a config asks for, and nothing else.

    ``trunks`` maps the name of a trunk to its sharing method, ``heads`` the name of a task to
    its head, ``relevance`` that of a task which has one to its relevance head. A trunk that feeds
    no task is not built.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """
        Build the network with fresh weights.

        :param config: Its tasks must carry their labels.
        :raises ValueError: If a task has no labels, or a trunk's settings don't fit its kind.
        """
        super().__init__()
        unlabelled = [name for name, task in config.tasks.items() if not task.labels]
        if unlabelled:
            raise ValueError(
                f'every task needs labels, got none for {unlabelled}; name them in the config '
                'or take them from the dataset with NetworkConfig.with_labels().'
            )
        self.config = config
        self.trunks = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        self.relevance = nn.ModuleDict()
        for name, trunk in config.trunks.items():
            if tasks := config.tasks_of(name):
                try:
                    self.trunks[name] = _build_trunk(trunk, tasks)
                except ValueError as error:
                    raise ValueError(f"trunk '{name}': {error}") from error
        for name, task in config.tasks.items():
            feature_dim = self.sharing(task.trunk).feature_dim
            self.heads[name] = build_head(task.kind, feature_dim, len(task.labels))
            if task.relevance:
                self.relevance[name] = RelevanceHead(feature_dim)

    def sharing(self, trunk: str) -> SharingMethod:
        """Return the sharing method of a trunk."""
        if trunk not in self.trunks:
            raise ValueError(f"Unknown trunk '{trunk}'; trunks with tasks: {list(self.trunks)}.")
        return cast('SharingMethod', self.trunks[trunk])

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return the logits of every task whose trunk is given an input.

        :param inputs: Normalised input per trunk; a clip trunk takes ``[B, 3, T, H, W]``.
        :return: ``[B, C]`` per task.
        """
        return {task: self.heads[task](values) for task, values in self.features(inputs).items()}

    def features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return what the heads see of every task whose trunk is given an input.

        :param inputs: As for :meth:`forward`.
        :return: ``[B, D]`` per task.
        """
        features: dict[str, Tensor] = {}
        for trunk, clips in inputs.items():
            features.update(self.sharing(trunk)(self._prepared(trunk, clips)))
        return features

    def scores(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return the probabilities of every task whose trunk is given an input.

        :param inputs: As for :meth:`forward`.
        :return: ``[B, C + 1]`` per task, float32: of its labels and, last, that nothing of the
            task is to be seen, which is 0 for a task without a relevance head.
        """
        features = self.features(inputs)
        return {task: self.scores_of(task, values) for task, values in features.items()}

    def scores_of(self, task: str, features: Tensor) -> Tensor:
        """Return the probabilities of one task, as :meth:`scores`, from its features."""
        logits = self.heads[task](features)
        if task in self.relevance:
            return cast('RelevanceHead', self.relevance[task]).scores(features, logits)
        return functional.pad(logits.float().softmax(1), (0, 1))

    def forward_tasks(
        self, clips: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Tensor]:
        """
        Return the logits of each task for its own batch.

        :param clips: Normalised input per task; tasks may be absent, batch sizes may differ.
        :param merge: See :meth:`SharingMethod.forward_tasks`.
        :return: ``[B, C]`` per task given, in the order of ``clips``; in training mode
            ``[S * B, C]`` where a sharing method samples (:meth:`SharingMethod.forward_task`).
        """
        features: dict[str, Tensor] = {}
        for trunk, batches in self._by_trunk(clips).items():
            features.update(self.sharing(trunk).forward_tasks(batches, merge=merge))
        return {task: self.heads[task](features[task]) for task in clips}

    def search(self, clips: Mapping[str, Tensor], losses: SampleLosses) -> None:
        """
        Improve what the sharing methods optimise without gradients, once per training step.

        :param clips: As for :meth:`forward_tasks`; the weights have not been trained on them yet.
        :param losses: From logits, ``[S * B, C]`` per task, to the weighted loss of each of the S
            samples, ``[S]`` per task.
        """

        def losses_of(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return losses({task: self.heads[task](values) for task, values in features.items()})

        for trunk, batches in self._by_trunk(clips).items():
            if self.sharing(trunk).searches:
                self.sharing(trunk).search(batches, losses_of)

    @property
    def sharing_methods(self) -> list[SharingMethod]:
        """Return the sharing methods of all trunks."""
        return [self.sharing(name) for name in self.trunks]

    def _by_trunk(self, clips: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        by_trunk: dict[str, dict[str, Tensor]] = {}
        for task, batch in clips.items():
            if task not in self.heads:
                raise ValueError(f"Unknown task '{task}'; known tasks: {list(self.heads)}.")
            trunk = self.config.tasks[task].trunk
            by_trunk.setdefault(trunk, {})[task] = self._prepared(trunk, batch)
        return by_trunk

    def _prepared(self, trunk: str, clips: Tensor) -> Tensor:
        # A static background is most of a clip and tells nothing about a motion. Without it a
        # network that starts from random weights learns motions many times sooner.
        if not self.config.trunks[trunk].subtract_mean:
            return clips
        return clips - clips.mean(2, keepdim=True)

    def deploy(self) -> MultiTaskNetwork:
        """
        Return what the robot needs and no more.

        :return: An independent copy in evaluation mode, without gradients, its batch norms
            folded. Its outputs equal this network's in evaluation mode.
        """
        deployed = copy.deepcopy(self).eval()
        for name in list(deployed.trunks):
            deployed.trunks[name] = deployed.sharing(name).deploy()
        return deployed.requires_grad_(False)


def _build_trunk(config: TrunkConfig, tasks: list[str]) -> SharingMethod:
    make_trunk = partial(
        build_backbone, config.backbone, depth=config.depth, width=config.width, norm=config.norm
    )
    return build_sharing(config.sharing, make_trunk, tasks, **config.sharing_settings)
