"""With the backpack against fine-tuning, on clips that neither has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.backpack.clips import LabelledClips
from mtl_training.backpack.novel_task import learn, NovelConfig, predict, with_novel_task
import numpy as np

BACKPACK, FINE_TUNING = 'backpack', 'fine-tuning'
METHODS = (BACKPACK, FINE_TUNING)


@dataclass(slots=True)
class Comparison:
    """
    What both methods reached on held-out clips.

    ``accuracy`` has, per method and number of clips of each class to learn from, one figure per
    fold; ``predictions`` per method the class of each clip when it was held out and all others
    were learnt from.
    """

    folds: list[list[int]]  # which clips each holds out
    chance: float  # what the most frequent class gives
    accuracy: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    predictions: dict[str, list[int]] = field(default_factory=dict)

    def overall(self, method: str, labels: Sequence[int]) -> float:
        """Return the share of all clips that a method got right when they were held out."""
        return float(np.mean(np.asarray(self.predictions[method]) == np.asarray(labels)))


def compare(
    memory: MultiTaskNetwork,
    trunk: str,
    novel: NovelConfig,
    clips: LabelledClips,
    *,
    num_folds: int,
    on_run: Callable[[int, int], object] = lambda done, total: None,
) -> Comparison:
    """
    Train both methods on the same clips with the same seeds, fold by fold.

    :param memory: A memory trunk and its tasks.
    :param num_folds: At most as many as the smallest class has clips.
    :param on_run: Told how many trainings of how many are done.
    """
    folds = stratified_folds(clips.labels, min(num_folds, min(clips.counts())), novel.seed)
    result = Comparison(folds, max(clips.counts()) / len(clips.labels))
    plan = [
        (number, size, method)
        for number, fold in enumerate(folds)
        for size in sizes(clips.labels, fold)
        for method in METHODS
    ]
    for method in METHODS:
        result.predictions[method] = [0] * len(clips.labels)
    for done, (number, size, method) in enumerate(plan):
        on_run(done, len(plan))
        own = replace(novel, seed=novel.seed + number)
        kept = first_of_each(clips.labels, folds[number], size, own.seed)
        network = with_novel_task(memory, trunk, own, asks=method == BACKPACK)
        learn(network, own, [clips.rows[i] for i in kept], [clips.labels[i] for i in kept])
        found = predict(network, own, [clips.rows[i] for i in folds[number]])
        right = [clips.labels[i] == guess for i, guess in zip(folds[number], found)]
        result.accuracy.setdefault(method, {}).setdefault(size, []).append(float(np.mean(right)))
        # The sizes ascend: what stays is of all clips.
        for i, guess in zip(folds[number], found):
            result.predictions[method][i] = guess
    on_run(len(plan), len(plan))
    return result


def stratified_folds(labels: Sequence[int], num_folds: int, seed: int) -> list[list[int]]:
    """Return clips by fold, each class dealt out evenly; every clip is in one fold."""
    random = np.random.default_rng(seed)
    folds: list[list[int]] = [[] for _ in range(num_folds)]
    place = 0
    for label in sorted(set(labels)):
        for i in random.permutation([i for i, other in enumerate(labels) if other == label]):
            folds[place % num_folds].append(int(i))
            place += 1
    return [sorted(fold) for fold in folds]


def sizes(labels: Sequence[int], held_out: Sequence[int]) -> list[int]:
    """Return numbers of clips of each class to learn from: 1, 2, 4, ... and all."""
    left = [label for i, label in enumerate(labels) if i not in set(held_out)]
    most = max(left.count(label) for label in set(left))
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def first_of_each(
    labels: Sequence[int], held_out: Sequence[int], size: int, seed: int
) -> list[int]:
    """Return so many clips of each class, or all that it has; fewer are a part of more."""
    random = np.random.default_rng(seed)
    kept = []
    for label in sorted(set(labels)):
        clips = [i for i, one in enumerate(labels) if one == label and i not in set(held_out)]
        kept += random.permutation(clips).tolist()[:size]
    return sorted(kept)
