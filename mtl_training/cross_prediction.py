"""What tasks say of each other's clips: sentences for those of classes, classes for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.sentences import SentenceList
from mtl_training.data.multitask import FixedDataset
from mtl_training.data.sample import ClipBatch, ClipDataset, collate_clips, describe
from mtl_training.inputs import TaskInputs
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

NUM_FRAMES = 4  # of a clip that are shown


@dataclass(frozen=True, slots=True)
class CrossPrediction:
    """
    A clip of one task, and what another task says of it.

    :param task: Whose clip it is.
    :param other: Who is asked.
    :param index: Of the clip in its data set.
    :param source: Where the clip came from, if its data set knows.
    :param truth: What the data set of its own task says of it: labels, or sentences.
    :param said: The likeliest labels with their probabilities, or the nearest sentences with their
        cosines, best first.
    :param frames: Some of the clip, uint8 ``[T, H, W, 3]``, RGB.
    """

    task: str
    other: str
    index: int
    source: str
    truth: tuple[str, ...]
    said: tuple[tuple[str, float], ...]
    frames: NDArray[np.uint8]

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values, without the frames."""
        names = ('task', 'other', 'index', 'source', 'truth', 'said')
        return {name: getattr(self, name) for name in names}


def crossed_tasks(config: NetworkConfig) -> tuple[str, list[str]]:
    """
    Return the task of captions, and the tasks of classes on the same trunk.

    :raises ValueError: If the network has none of either.
    """
    caption = config.task_of_kind('caption')
    kinds = {name: task.kind for name, task in config.tasks.items()}
    if caption is None:
        raise ValueError(f'there must be a task of kind caption, got {kinds}.')
    trunk = config.tasks[caption].trunk
    classes = [
        name
        for name, task in config.tasks.items()
        if task.kind == 'classification' and task.trunk == trunk
    ]
    if not classes:
        raise ValueError(
            f"there must be a task of kind classification on the trunk '{trunk}' of the captions, "
            f'got {kinds}.'
        )
    return caption, classes


@torch.no_grad()
def cross_predict(
    network: MultiTaskNetwork,
    datasets: Mapping[str, ClipDataset],
    sentences: SentenceList,
    *,
    count: int,
    best: int = 3,
    device: torch.device | None = None,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> list[CrossPrediction]:
    """
    Ask the task of captions about clips of classes, and the others about clips of captions.

    :param network: Deployed, or in evaluation mode; on the device.
    :param datasets: Of the task of captions and of those on its trunk; their clips are spread
        evenly over them.
    :param sentences: What captions are chosen from.
    :param count: How many clips of each task; all where there are fewer.
    :param best: How many answers are kept.
    :param on_clip: Told how many clips of how many are done.
    """
    device = device or torch.device('cpu')
    caption, classes = crossed_tasks(network.config)
    inputs = TaskInputs(network.config, dtype=next(network.parameters()).dtype).to(device).eval()
    asked = [(task, [caption]) for task in classes] + [(caption, classes)]
    indices = {task: spread_over(len(datasets[task]), count) for task, _ in asked}
    total, done = sum(map(len, indices.values())), 0
    found = []
    for task, others in asked:
        dataset, fixed = datasets[task], FixedDataset(datasets[task])
        for index in indices[task]:
            batch = collate_clips([cast('Any', fixed[index])]).to(device)
            clips = inputs({task: batch})[task]
            outputs = network.forward_heads(task, clips, others)
            for other in others:
                if other == caption:
                    said = sentences.nearest(outputs[other][0].float().cpu().numpy(), best)
                else:
                    said = likeliest(outputs[other][0], network.config.tasks[other].labels, best)
                found.append(_prediction(task, other, dataset, batch, tuple(said)))
            done += 1
            on_clip(done, total)
    return found


def likeliest(logits: Tensor, labels: Sequence[str], count: int) -> list[tuple[str, float]]:
    """Return the likeliest labels and their probabilities, ``[C]`` logits given."""
    shares, numbers = logits.float().softmax(0).topk(min(count, len(labels)))
    return [(labels[n], share) for n, share in zip(numbers.tolist(), shares.tolist())]


def spread_over(length: int, count: int) -> list[int]:
    """Return that many numbers below a length, evenly spread; all of them if it is shorter."""
    count = min(count, length)
    return [i * length // count for i in range(count)]


def _prediction(
    task: str,
    other: str,
    dataset: ClipDataset,
    batch: ClipBatch,
    said: tuple[tuple[str, float], ...],
) -> CrossPrediction:
    index, frames = int(batch.indices[0]), batch.frames[0].cpu().numpy()
    shown = frames[
        np.linspace(0, len(frames) - 1, min(NUM_FRAMES, len(frames))).round().astype(int)
    ]
    truth = truth_of(dataset, index, int(batch.labels[0]))
    return CrossPrediction(task, other, index, describe(dataset, index), truth, said, shown)


def truth_of(dataset: Any, index: int, label: int) -> tuple[str, ...]:
    """Return the true sentences of a clip, the classes that it shows, or its label."""
    # A sample that stands in for a damaged one brings its own row along.
    if hasattr(dataset, 'sentences'):
        rows = [row for row in dataset.truths(index) if row != label]
        others = rows if len(rows) < len(dataset.truths(index)) else []
        return tuple(dataset.sentences[row] for row in (label, *others))
    if hasattr(dataset, 'positives'):
        shown = torch.as_tensor(dataset.positives)[label].nonzero()[:, 0].tolist()
        return tuple(dataset.labels[number] for number in shown)
    return (dataset.labels[label],)
