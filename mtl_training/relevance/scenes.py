"""A network on mixed scenes: clips of all tasks and of none, and nobody says which are which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mtl_perception.network.heads import RelevanceHead
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.relevance.features import Features
from mtl_training.relevance.figures import auroc, Reliability
import torch
from torch import Tensor

# What relevance heads and temperatures are fitted to: figures there flatter.
FITTED_SPLITS = ('train', 'val')


@dataclass(slots=True)
class TaskScenes:
    """What came out for one task."""

    auroc: float  # of the relevance: own clips against all others
    labels: Reliability  # of the scores of the labels, on own clips
    answers: Reliability  # of what the robot says, a label or 'nothing', on all clips
    num_right: int  # of these answers
    num_missed: int  # own clips that were said to be nothing
    num_false_alarms: int  # clips of others that got a label
    num_own: int
    num_clips: int

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        others = self.num_clips - self.num_own
        return {
            'auroc': self.auroc,
            'ece_labels': self.labels.error(),
            'ece': self.answers.error(),
            'right_answers': self.num_right / max(1, self.num_clips),
            'missed': self.num_missed / max(1, self.num_own),
            'false_alarms': self.num_false_alarms / max(1, others),
            'samples': self.num_clips,
        }


@dataclass(slots=True)
class SceneEvaluation:
    """What came out for all tasks."""

    tasks: dict[str, TaskScenes] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)  # clips of each data set
    calibrated_on: bool = False  # judged on a split that the scores were fitted to

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain values: of each task, and their mean."""
        tasks = {task: scenes.summary() for task, scenes in self.tasks.items()}
        names = ('auroc', 'ece_labels', 'ece', 'right_answers', 'missed', 'false_alarms')
        mean = {name: sum(t[name] for t in tasks.values()) / len(tasks) for name in names}
        return {
            'tasks': tasks,
            'mean': mean,
            'samples': dict(self.samples),
            'calibrated_on': self.calibrated_on,
        }


@torch.no_grad()
def evaluate_scenes(
    network: MultiTaskNetwork, features: Features, *, split: str, min_relevance: float = 0.5
) -> SceneEvaluation:
    """
    Judge the scores of all tasks whose own clips are there on clips of all data sets.

    :param network: With relevance heads; on any device.
    :param features: Of the clips, from this network.
    :param split: That the clips are of; figures on one of :data:`FITTED_SPLITS` are marked.
    :param min_relevance: As the robot's parameter: below it the answer is 'nothing'.
    """
    network = network.deploy().to('cpu')
    result = SceneEvaluation(
        samples={source: len(labels) for source, labels in features.labels.items()},
        calibrated_on=split in FITTED_SPLITS,
    )
    for task, head in network.relevance.items():
        assert isinstance(head, RelevanceHead)
        if task not in features.labels:
            continue
        nothing = len(network.config.tasks[task].labels)
        x, answers = features.mixed(task, nothing)
        scores = network.scores_of(task, x)
        said = _said(scores, min_relevance)
        own, truth = features.own(task)
        is_own = answers != nothing
        classes = (network.heads[task](own).float() / head.temperature).softmax(1)
        result.tasks[task] = TaskScenes(
            # By the logit: close to 1, different probabilities are equal in float32.
            auroc=auroc(head(x), is_own),
            labels=Reliability.of(classes, classes.argmax(1), truth),
            answers=Reliability.of(scores, said, answers),
            num_right=int((said == answers).sum()),
            num_missed=int((said[is_own] == nothing).sum()),
            num_false_alarms=int((said[~is_own] != nothing).sum()),
            num_own=int(is_own.sum()),
            num_clips=len(answers),
        )
    return result


def _said(scores: Tensor, min_relevance: float) -> Tensor:
    """Return what the robot says, ``[N]``: not always the likeliest of labels and 'nothing'."""
    nothing = scores.shape[1] - 1
    is_silent = 1 - scores[:, nothing] < min_relevance
    return torch.where(is_silent, nothing, scores[:, :nothing].argmax(1))
