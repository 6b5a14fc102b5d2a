"""What a stage of a run trains, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast, NamedTuple

from lightning_fabric import Fabric
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.config import TrainingConfig
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.loading import build_dataset
from mtl_training.data.multitask import FixedDataset
from mtl_training.data.sample import AnyDataset
from mtl_training.inputs import TaskInputs
from mtl_training.predicted_poses import (
    find_all_poses,
    load_poses,
    PredictedPoses,
    save_poses,
)
from mtl_training.processes import gather_objects
from mtl_training.regimes import Stage
from mtl_training.tables import nearest
from torch import nn
from torch.utils.data import Subset

POSE_KINDS = ('detection', 'keypoints', 'association')  # of the tasks that find poses


class StoredPoses(NamedTuple):
    """Where the poses that a stage learns from are kept for a resumed run."""

    path: Path
    stage: int
    keep: bool  # the stage has begun: the network may have changed since they were found


def check_stages(stages: Sequence[Stage], network: NetworkConfig) -> None:
    """
    Check what stages name against the network.

    :raises ValueError: If a stage freezes an unknown trunk, or has nothing to learn from poses or
        nothing to find them with.
    """
    for i, stage in enumerate(stages):
        for name in (*stage.freeze, *stage.freeze_backbones):
            if name not in network.trunks:
                raise ValueError(
                    f"stages[{i}].freeze: no trunk '{name}'. {nearest(name, [*network.trunks])}"
                )
        if stage.predicted_poses and network.task_of_kind('activity') not in stage.tasks:
            raise ValueError(
                f'stages[{i}].predicted_poses is for the task of kind activity, got {stage.tasks}.'
            )
        missing = [kind for kind in POSE_KINDS if network.task_of_kind(kind) is None]
        if stage.predicted_poses and missing:
            raise ValueError(
                f'stages[{i}].predicted_poses needs tasks of the kinds {POSE_KINDS}, the network '
                f'has none of kind {missing[0]}.'
            )


def freeze(network: MultiTaskNetwork, stage: Stage, trainable: Mapping[int, bool]) -> None:
    """
    Leave out of training what a stage freezes.

    :param trainable: Of every parameter, by its id, whether the run trains it at all.
    """
    frozen = {id(p) for module in frozen_modules(network, stage) for p in module.parameters()}
    for parameter in network.parameters():
        is_trained = trainable[id(parameter)] and id(parameter) not in frozen
        parameter.requires_grad_(is_trained)


def frozen_modules(network: MultiTaskNetwork, stage: Stage) -> list[nn.Module]:
    """Return the parts of a network that a stage leaves as they are."""
    backbones = [
        module for name in stage.freeze_backbones for _, module in network.sharing(name).copies()
    ]
    return [*(network.trunks[name] for name in stage.freeze), *backbones]


def with_predicted_poses(
    config: TrainingConfig,
    network: MultiTaskNetwork,
    inputs: TaskInputs,
    fabric: Fabric,
    *,
    stored: StoredPoses,
    say: Callable[[str], None],
) -> dict[str, AnyDataset]:
    """
    Return the training data of the activity task with the poses that the network finds.

    :param network: As the stage begins.
    :raises ValueError: If it finds joints of nobody.
    """
    task = network.config.task_of_kind('activity')
    assert task is not None
    data = config.data[task]
    truth = cast('FrameDataset', build_dataset(task, data, 'train', network.config, augment=False))
    if stored.keep and (known := load_poses(stored.path, stored.stage)):
        return {task: PredictedPoses(truth, known)}
    history = settings_of(task, network.config.tasks[task]).history
    pixels = cast(
        'FrameDataset',
        build_dataset(task, data, 'train', network.config, augment=False, images=history),
    )
    say(f'finding the poses of {len(pixels)} samples of {history} frames')
    # Each process finds those of a share, and all learn from the same.
    own = range(fabric.global_rank, len(pixels), fabric.world_size)
    share = Subset(FixedDataset(pixels), own)
    found_here = find_all_poses(
        network.deploy(),
        cast('FrameDataset', share),
        inputs,
        batch_size=config.evaluation.batch_size,
        device=fabric.device,
        workers=config.workers,
        autocast=fabric.autocast,
    )
    shares = gather_objects(found_here)
    poses = [shares[i % len(shares)][i // len(shares)] for i in range(len(pixels))]
    if fabric.is_global_zero:
        save_poses(stored.path, poses, stored.stage)
    found = sum(int(row.is_found.sum()) for row in poses)
    if not any(row.keypoints[row.is_found][..., 2].any() for row in poses):
        raise ValueError(
            f'data.{task}: the network finds no joint of anybody in its {len(poses)} training '
            'samples, so there are no poses to learn from; the stages before must be longer.'
        )
    say(f'found {found} of {sum(len(row.is_found) for row in poses)} people')
    return {task: PredictedPoses(truth, poses)}
