"""The one network: trunks, sharing methods and heads joined by the names of a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import copy
from functools import partial
from typing import Any, cast

from mtl_perception.network.backbones import build_backbone
from mtl_perception.network.backbones.resnet2d import ResNet2d
from mtl_perception.network.config import CLIP_KINDS, FIXED_LABELS, NetworkConfig
from mtl_perception.network.heads import build_head, RelevanceHead
from mtl_perception.network.pose.activity import activity_inputs, ActivityClassifier
from mtl_perception.network.pose.association import PoseResidualNetwork
from mtl_perception.network.pose.decoding import box_candidates, find_poses, People, suppress
from mtl_perception.network.pose.detection import DetectionBranch
from mtl_perception.network.pose.keypoints import KeypointBranch
from mtl_perception.network.pose.skeleton import NUM_KEYPOINTS
from mtl_perception.network.pose.trunk import FrameTrunk
from mtl_perception.network.sharing import build_sharing, SampleLosses, SharingMethod
from mtl_perception.network.temporal_graph.backpack import Exchange
from mtl_perception.network.temporal_graph.building import (
    build_graphs,
    build_prototypes,
    check_source,
)
from mtl_perception.network.temporal_graph.config import GROUPED_KINDS
from mtl_perception.network.temporal_graph.heads import GraphHead, Known, Perspectives
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
import torch
from torch import nn, Tensor
from torch.nn import functional


class MultiTaskNetwork(nn.Module):
    """
    All trunks and heads that a config asks for, and nothing else.

    ``trunks`` maps the name of a trunk to its sharing method (that of frames to its one backbone),
    ``heads`` the name of a task to its head, ``relevance`` that of a task which has one to its
    relevance head, ``prototypes`` that of a trunk of features to its prototypes, if it has any. A
    trunk that feeds no task is not built.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """
        Build the network with fresh weights.

        :param config: Its tasks must carry their labels, or groups of labels.
        :raises ValueError: If a task has no labels, or settings don't fit their kind.
        """
        super().__init__()
        unlabelled = [
            name
            for name, task in config.tasks.items()
            if not task.labels and FIXED_LABELS.get(task.kind) is None
        ]
        if unlabelled:
            raise ValueError(
                f'every task needs labels, got none for {unlabelled}; name them in the config '
                'or take them from the dataset with NetworkConfig.with_labels().'
            )
        ungrouped = [
            name
            for name, task in config.tasks.items()
            if task.kind in GROUPED_KINDS and not task.groups
        ]
        if ungrouped:
            raise ValueError(
                f'every task of kinds {GROUPED_KINDS} needs groups of labels, got none for '
                f'{ungrouped}; name them in the config or take them from the dataset with '
                'NetworkConfig.with_groups().'
            )
        self.config = config
        self.trunks = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        self.relevance = nn.ModuleDict()
        self.prototypes = nn.ModuleDict()
        for name in config.trunks:
            if config.tasks_of(name):
                try:
                    self.trunks[name] = _build_trunk(config, name)
                except ValueError as error:
                    raise ValueError(f"trunk '{name}': {error}") from error
        for name in config.trunks_of('features'):
            check_source(config, name, self.trunks)
            if (bank := build_prototypes(config, name)) is not None:
                self.prototypes[name] = bank
        for name, task in config.tasks.items():
            self.heads[name] = build_head(name, task, self.trunks[task.trunk])
            if task.relevance:
                self.relevance[name] = RelevanceHead(self.sharing(task.trunk).feature_dim)

    def sharing(self, trunk: str) -> SharingMethod:
        """Return the sharing method of a trunk."""
        if trunk not in self.trunks:
            raise ValueError(f"Unknown trunk '{trunk}'; trunks with tasks: {list(self.trunks)}.")
        return cast('SharingMethod', self.trunks[trunk])

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """
        Return the outputs of every task whose trunk is given an input.

        :param inputs: Normalised input per trunk: ``[B, 3, T, H, W]`` for one of clips,
            ``[B, 3, H, W]`` for one of frames, ``[B, N, S, D]`` for one of features, whose tasks
            must then have windows of one length: :meth:`forward_tasks` takes those of each.
        :return: Logits ``[B, C]`` per task of clips, unit vectors ``[B, E]`` for one of captions,
            a :class:`DetectionOutput` and a :class:`KeypointOutput` for those tasks, and of
            windows what a :class:`GraphHead` returns; what is said of each person takes poses, not
            frames: :meth:`people` and :meth:`activities`.
        """
        outputs: dict[str, Any] = {}
        for trunk, batch in inputs.items():
            for task, values in self.sharing(trunk)(self._prepared(trunk, batch)).items():
                if (output := self._output(task, values, batch)) is not None:
                    outputs[task] = output
        return outputs

    def people(self, frames: Tensor) -> People:
        """
        Return the people in frames, with their boxes and joints.

        :param frames: Normalised, ``[B, 3, H, W]``; the network must have a task of detection.
            Without tasks of keypoints and of association no joint is found.
        """
        trunk = self.config.tasks[self._require('detection')].trunk
        return self.people_of(self({trunk: frames}), (frames.shape[2], frames.shape[3]))

    def people_of(self, outputs: Mapping[str, Any], image_size: tuple[int, int]) -> People:
        """
        Return the people that the outputs of the frame tasks speak of.

        :param outputs: Of :meth:`forward`.
        :param image_size: Height and width of the network's input, pixels.
        """
        detection = self._require('detection')
        branch = cast('DetectionBranch', self.heads[detection])
        candidates = box_candidates(outputs[detection], branch.config, image_size)
        return self.poses_in(*suppress(*candidates, branch.config), outputs)

    def poses_in(self, boxes: Tensor, scores: Tensor, outputs: Mapping[str, Any]) -> People:
        """
        Return people with given boxes, and the joints that the outputs show in them.

        :param boxes: xyxy in pixels of the input, ``[B, N, 4]``.
        :param scores: ``[B, N]``; 0 marks padding.
        """
        keypoints = self.config.task_of_kind('keypoints')
        association = self.config.task_of_kind('association')
        if keypoints is None or association is None:
            nothing = boxes.new_full((*scores.shape, NUM_KEYPOINTS, 3), torch.nan)
            nothing[..., 2] = 0
            return People(boxes, scores, nothing, torch.zeros_like(scores))
        return find_poses(
            outputs[keypoints].heatmaps,
            boxes,
            scores,
            cast('PoseResidualNetwork', self.heads[association]),
            cast('KeypointBranch', self.heads[keypoints]).config,
        )

    def activities(self, keypoints: Tensor, boxes: Tensor, image_size: Tensor) -> Tensor:
        """
        Return the probabilities of what people do.

        :param keypoints: ``[N, T, 17, 3]`` as (x, y, score), oldest first, T being the ``history``
            of the task; what is missing is NaN or has the score 0.
        :param boxes: The newest of each person, xyxy ``[N, 4]``, in the same pixels.
        :param image_size: Height and width of that image, ``[2]``.
        :return: ``[N, C]``, float32.
        """
        task = self._require('activity')
        logits = self.heads[task](self.activity_inputs(keypoints, boxes, image_size))
        return logits.float().softmax(1)  # type: ignore[no-any-return]

    def activity_inputs(self, keypoints: Tensor, boxes: Tensor, image_size: Tensor) -> Tensor:
        """Return the inputs of the activity classifier for :meth:`activities`, ``[N, T * 34]``."""
        head = cast('ActivityClassifier', self.heads[self._require('activity')])
        poses = activity_inputs(head.config, keypoints, boxes, image_size)
        return poses.to(next(head.parameters()).dtype)

    def project(self, task: str, windows: Tensor, heads: Sequence[str]) -> dict[str, Tensor]:
        """
        Return what several tasks see of the centre of windows: what prototypes are the means of.

        :param task: Of kind recognition: whose windows they are.
        :param windows: ``[B, N, S, D]``.
        :param heads: Tasks that the same trunk feeds.
        :return: ``[B, H]`` per task asked for.
        :raises ValueError: If another trunk feeds one of them, or the task is of another kind.
        """
        if (kind := self.config.tasks[task].kind) != 'recognition':
            raise ValueError(f"the task '{task}' must be of kind recognition, it is of {kind}.")
        trunk = self._common_trunk(task, heads)
        nodes = self.sharing(trunk).forward_task(windows, task)
        centre = self._graph_head(task).window.judged(nodes)[:, 0]
        return {head: self._graph_head(head).project(centre) for head in heads}

    def perspectives(self, task: str, windows: Tensor) -> Perspectives:
        """
        Return what a task on windows says from each point of view: its own, and its backpack's.

        :param windows: ``[B, N, S, D]``.
        :return: :meth:`forward_tasks` returns what :meth:`GraphHead.fuse` makes of its logits.
        """
        nodes = self.sharing(self.config.tasks[task].trunk).forward_task(windows, task)
        return self._graph_head(task).perspectives(task, nodes, self._known(task))

    def _known(self, task: str) -> dict[str, Known]:
        trunk = self.config.tasks[task].trunk
        bank = cast('PrototypeBank', self.prototypes[trunk]) if trunk in self.prototypes else None
        known = {}
        for other, exchange in self._graph_head(task).exchanges.items():
            needs = len(cast('Exchange', exchange).layers) > 0
            prototypes = bank.of(other) if bank is not None and needs else None
            known[other] = Known(self._graph_head(other).project, prototypes)
        return known

    def _graph_head(self, task: str) -> GraphHead:
        return cast('GraphHead', self.heads[task])

    def _output(self, task: str, values: Any, batch: Tensor) -> Any:
        looks_at = self.config.trunks[self.config.tasks[task].trunk].input
        if looks_at == 'frame':
            return self._frame_output(task, values, batch)
        if looks_at == 'features':
            return self.heads[task](values, self._known(task))
        return self.heads[task](values)

    def _frame_output(self, task: str, maps: Sequence[Tensor], frames: Tensor) -> Any:
        kind = self.config.tasks[task].kind
        if kind == 'detection':
            return self.heads[task](maps, (frames.shape[2], frames.shape[3]))
        return self.heads[task](maps) if kind == 'keypoints' else None

    def _require(self, kind: str) -> str:
        task = self.config.task_of_kind(kind)
        if task is None:
            raise ValueError(f'the network has no task of kind {kind}.')
        return task

    def features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return what the heads see of every clip task whose trunk is given an input.

        :param inputs: Normalised clips per trunk, ``[B, 3, T, H, W]``, or windows as for
            :meth:`forward`.
        :return: ``[B, D]`` per task, ``[B, N, H]`` for one on windows.
        """
        features: dict[str, Tensor] = {}
        for trunk, clips in inputs.items():
            features.update(self.sharing(trunk)(self._prepared(trunk, clips)))
        return features

    def scores(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return what every clip task whose trunk is given an input says.

        :param inputs: As for :meth:`features`.
        :return: Probabilities ``[B, C + 1]`` per task, float32: of its labels and, last, that
            nothing of the task is to be seen, which is 0 for a task without a relevance head. For
            a task of captions the unit vectors, ``[B, E]``.
        """
        features = self.features(inputs)
        return {task: self.scores_of(task, values) for task, values in features.items()}

    def scores_of(self, task: str, features: Tensor) -> Tensor:
        """Return what one task says, as :meth:`scores`, from its features."""
        if (kind := self.config.tasks[task].kind) not in CLIP_KINDS:
            raise ValueError(f"scores are of clips, the task '{task}' is of kind {kind}.")
        logits = self.heads[task](features)
        if self.config.tasks[task].kind == 'caption':
            return logits.float()
        if task in self.relevance:
            return cast('RelevanceHead', self.relevance[task]).scores(features, logits)
        return functional.pad(logits.float().softmax(1), (0, 1))

    def forward_heads(self, task: str, clips: Tensor, heads: Sequence[str]) -> dict[str, Tensor]:
        """
        Return what several tasks of one trunk say of the clips of one of them.

        :param task: Whose clips they are.
        :param clips: Normalised, ``[B, 3, T, H, W]``, or windows as for :meth:`forward`.
        :param heads: Tasks that the same trunk feeds.
        :return: As of :meth:`forward_tasks`, per task asked for.
        :raises ValueError: If another trunk feeds one of them.
        """
        trunk = self._common_trunk(task, heads)
        if self.config.trunks[trunk].input == 'features':
            return self.forward_tasks(dict.fromkeys(heads, clips))
        features = self.features({trunk: clips})
        return {head: self.heads[head](features[head]) for head in heads}

    def _common_trunk(self, task: str, heads: Sequence[str]) -> str:
        trunk = self.config.tasks[task].trunk
        for head in heads:
            if (other := self.config.tasks[head].trunk) != trunk:
                raise ValueError(
                    f"the tasks '{task}' and '{head}' must read the same trunk to look at the "
                    f"same clips, got '{trunk}' and '{other}'."
                )
        return trunk

    def forward_tasks(self, inputs: Mapping[str, Tensor], *, merge: bool = True) -> dict[str, Any]:
        """
        Return the outputs of each task for its own batch.

        :param inputs: Per task; tasks may be absent, batch sizes may differ. Normalised clips or
            frames; for a task of association the maps of people's joints, for one of activity
            normalised poses; for one on windows these, ``[B, N, S, D]``, without their future.
        :param merge: See :meth:`SharingMethod.forward_tasks`.
        :return: As of :meth:`forward`, per task given and in their order; in training mode logits
            are ``[S * B, C]`` where a sharing method samples (:meth:`SharingMethod.forward_task`).
        """
        outputs: dict[str, Any] = {}
        for trunk, batches in self._by_trunk(inputs).items():
            features: Mapping[str, Any] = self.sharing(trunk).forward_tasks(batches, merge=merge)
            for task, values in features.items():
                outputs[task] = self._output(task, values, inputs[task])
        return {
            task: outputs[task] if task in outputs else self.heads[task](batch)
            for task, batch in inputs.items()
        }

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
            if self.config.tasks[task].kind in ('association', 'activity'):
                continue
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
        for head in deployed.heads.values():
            if isinstance(head, (KeypointBranch, PoseResidualNetwork)):
                head.deploy()
        return deployed.requires_grad_(False)


def _build_trunk(network: NetworkConfig, name: str) -> SharingMethod:
    config, tasks = network.trunks[name], network.tasks_of(name)
    if config.input == 'features':
        return build_graphs(network, name)
    if config.input == 'frame':
        backbone = ResNet2d(config.depth, config.width, config.norm_eps)
        return FrameTrunk(backbone, tasks)
    make_trunk = partial(
        build_backbone,
        config.backbone,
        depth=config.depth,
        width=config.width,
        norm=config.norm,
        clip_size=(config.num_frames, *config.preprocessing.size),
    )
    return build_sharing(config.sharing, make_trunk, tasks, **config.sharing_settings)
