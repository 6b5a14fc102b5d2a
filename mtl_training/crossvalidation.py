"""K-fold cross-validation of the classifier of activities, as the source judges it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mtl_perception.network.pose.activity import (
    activity_inputs,
    ActivityClassifier,
    ActivityConfig,
)
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.multitask import FixedDataset
from mtl_training.pose_metrics import ActivityReport
from mtl_training.predicted_poses import FoundPoses
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau


@dataclass(frozen=True, slots=True)
class People:
    """The people of a data set, one row each."""

    poses: Tensor  # [N, T * 34], as the classifier takes them
    activities: Tensor  # int64 [N]
    groups: Tensor  # int64 [N]; people of one group know each other's scene
    num_known: int = 0  # people whose activity is known, whether they were found or not


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidation:
    """
    How the classifier is trained and judged.

    :param folds: Each is judged once by a classifier trained on the others; 5 in the source.
    :param epochs: Of training.
    :param batch_size: People per step.
    :param lr: Learning rate of Adam, reduced tenfold when the training loss no longer falls.
    :param patience: Epochs without a lower loss that make a plateau.
    :param seed: Of the folds, of the weights and of the order of the people.
    """

    folds: int = 5
    epochs: int = 30
    batch_size: int = 32
    lr: float = 1e-3
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f'folds must be at least 2, got {self.folds}.')
        if self.epochs < 1:
            raise ValueError(f'epochs must be at least 1, got {self.epochs}.')
        if self.batch_size < 2:
            raise ValueError(f'batch_size must be at least 2, got {self.batch_size}.')
        if not 0 < self.lr < float('inf'):
            raise ValueError(f'lr must be positive, got {self.lr}.')
        if self.patience < 0:
            raise ValueError(f'patience must not be negative, got {self.patience}.')

    def run(
        self,
        people: People,
        config: ActivityConfig,
        labels: Sequence[str],
        *,
        device: torch.device | None = None,
        on_epoch: Callable[[], None] = lambda: None,
    ) -> list[ActivityReport]:
        """
        Return the report of each fold, of people that its classifier was not trained on.

        :raises ValueError: If there are fewer groups than folds.
        """
        fold_of = folds_of(people.groups, self.folds, seed=self.seed)
        reports = []
        for fold in range(self.folds):
            is_judged = fold_of == fold
            classifier = self._trained(people, ~is_judged, config, len(labels), fold, device,
                                       on_epoch)  # fmt: skip
            report = ActivityReport(labels)
            with torch.no_grad():
                predicted = classifier(people.poses[is_judged].to(device)).argmax(1).cpu()
            report.update(predicted, people.activities[is_judged])
            reports.append(report)
        return reports

    def _trained(
        self,
        people: People,
        is_trained: Tensor,
        config: ActivityConfig,
        num_labels: int,
        fold: int,
        device: torch.device | None,
        on_epoch: Callable[[], None],
    ) -> ActivityClassifier:
        poses = people.poses[is_trained].to(device)
        activities = people.activities[is_trained].to(device)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed * 1000 + fold)
            classifier = ActivityClassifier(config, num_labels).to(device)
            optimiser = torch.optim.Adam(classifier.parameters(), lr=self.lr)
            schedule = ReduceLROnPlateau(optimiser, factor=0.1, patience=self.patience)
            for _ in range(self.epochs):
                total = 0.0
                for rows in _batches(len(poses), self.batch_size):
                    loss = cross_entropy(classifier(poses[rows]), activities[rows])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total += float(loss.detach()) * len(rows)
                schedule.step(total / len(poses))
                on_epoch()
        return classifier.eval()


def folds_of(groups: Tensor, folds: int, *, seed: int) -> Tensor:
    """
    Return the fold of each person, ``[N]``, such that no group is divided.

    Groups come in random order, the largest first, each into the fold with the fewest people.

    :raises ValueError: If there are fewer groups than folds.
    """
    names, group_of, counts = groups.unique(return_inverse=True, return_counts=True)
    if len(names) < folds:
        raise ValueError(
            f'folds must be at most the {len(names)} images, scenes or videos of the people, got '
            f'{folds}.'
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-counts.numpy()[shuffled], kind='stable')]
    sizes = np.zeros(folds, np.int64)
    fold_of_group = np.zeros(len(names), np.int64)
    for group in order:
        fold_of_group[group] = sizes.argmin()
        sizes[fold_of_group[group]] += int(counts[group])
    return torch.from_numpy(fold_of_group)[group_of]


def gather_people(
    dataset: FrameDataset, config: ActivityConfig, found: Sequence[FoundPoses] | None = None
) -> People:
    """
    Return the people of a data set whose activity is known.

    :param found: What a network found in every sample; None takes the annotated poses. Who was
        not found is left out.
    :raises ValueError: If nobody is left.
    """
    known_groups: Any = getattr(dataset, 'groups', None)
    groups = known_groups() if known_groups is not None else range(len(dataset))
    fixed = FixedDataset(dataset)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    num_known = 0
    for index, group in zip(range(len(dataset)), groups):
        sample = cast(Any, fixed[index])
        keypoints, boxes = sample.keypoints, sample.boxes[:, -1]
        chosen = ~sample.is_crowd & (sample.activities >= 0)
        num_known += int(chosen.sum())
        if found is None:
            chosen &= (keypoints[:, -1, :, 2] > 0).any(-1)
        else:
            keypoints, boxes = found[index].keypoints, found[index].boxes
            chosen &= found[index].is_found
        size = torch.tensor(sample.images.shape[1:3])
        poses = activity_inputs(config, keypoints[chosen], boxes[chosen], size)
        activities = sample.activities[chosen]
        rows.append((poses, activities, torch.full_like(activities, group)))
    poses, activities, groups_of_people = (torch.cat(values) for values in zip(*rows))
    people = People(poses, activities, groups_of_people, num_known)
    if not len(people.poses):
        raise ValueError('nobody whose activity is known was found in the data.')
    return people


def _batches(count: int, size: int) -> list[Tensor]:
    """Return a random order of the rows in batches of two at least, for batch norms."""
    parts = list(torch.randperm(count).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
