"""What a network reaches on the clips of one task, from its outputs for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from mtl_training.average_precision import mean_average_precision
from mtl_training.criteria.caption import caption_losses
from mtl_training.criteria.classification import sample_losses
from mtl_training.data.sample import ClipDataset
from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.retrieval_pools import caption_figures
from mtl_training.video_accuracy import video_accuracy
import torch
from torch import Tensor


@dataclass(slots=True)
class ClipOutputs:
    """What a task said of clips, as they come: N of them in the end."""

    outputs: list[Tensor] = field(default_factory=list)  # float32 [B, D], on the CPU
    labels: list[Tensor] = field(default_factory=list)  # int64 [B]
    indices: list[Tensor] = field(default_factory=list)  # int64 [B]

    def add(self, outputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take in a batch."""
        self.outputs.append(outputs.float().cpu())
        self.labels.append(labels.cpu())
        self.indices.append(indices.cpu())

    def joined(self, others: Iterable[ClipOutputs]) -> tuple[Tensor, Tensor, Tensor]:
        """Return all outputs, labels and indices, those of other processes too, in one order."""
        parts = [self, *others]
        outputs, labels, indices = (
            torch.cat([tensor for part in parts for tensor in getattr(part, name)])
            for name in ('outputs', 'labels', 'indices')
        )
        order = indices.argsort(stable=True)
        return outputs[order], labels[order], indices[order]


def judge(
    result: Evaluation,
    task: str,
    kind: str,
    dataset: ClipDataset,
    joined: tuple[Tensor, Tensor, Tensor],
) -> None:
    """
    Add the figures of a task of clips.

    :param kind: classification or caption.
    :param joined: Outputs, labels and indices of all clips.
    """
    outputs, labels, indices = joined
    targets = cast('Tensor | None', getattr(dataset, 'targets', None))
    if kind == 'caption':
        assert targets is not None, 'a data set of captions has targets'
        result.losses[task] = float(caption_losses(outputs, targets[labels]).mean())
        truths = [
            _truths_of(dataset, index, label)
            for index, label in zip(indices.tolist(), labels.tolist())
        ]
        result.captions[task] = _caption_figures(outputs, targets, truths)
        return
    answers = labels if targets is None else targets[labels]
    result.losses[task] = float(sample_losses(outputs, answers).mean())
    if targets is not None:
        result.multilabel[task] = _multilabel_figures(outputs, labels, dataset)
        return
    result.confusions[task] = ConfusionMatrix(dataset.labels)
    result.confusions[task].update(outputs.argmax(1), labels)
    video_of = getattr(dataset, 'video_of', None)
    videos = [video_of(i) for i in indices.tolist()] if video_of else []
    if len(set(videos)) < len(videos):
        result.videos[task] = {
            # A clip of which nothing is known has no say.
            'accuracy': video_accuracy(outputs.nan_to_num(), labels, videos),
            'clip_accuracy': result.confusions[task].accuracy,
            'videos': len(set(videos)),
            'clips': len(videos),
        }


def _truths_of(dataset: Any, index: int, label: int) -> Sequence[int]:
    truths: Sequence[int] = dataset.truths(index)
    # What stands in for a damaged clip shows something else, of which one sentence is known.
    return truths if label in truths else (label,)


def _caption_figures(
    outputs: Tensor, targets: Tensor, truths: Sequence[Sequence[int]]
) -> dict[str, Any]:
    outputs, targets = outputs.clone(), targets.float().cpu()
    for row in (~outputs.isfinite().all(1)).nonzero().flatten().tolist():
        # A wrong answer, as with labels, and no error: far from the truth, so that it ranks last.
        outputs[row] = -targets[list(truths[row])].mean(0)
    figures = caption_figures(outputs.numpy(), targets.numpy(), truths)
    return {**figures, 'score': (figures['r1'] + figures['r5'] + figures['r10']) / 3}


def _multilabel_figures(outputs: Tensor, labels: Tensor, dataset: Any) -> dict[str, Any]:
    # The rows of what the clips show: of one that stands in for a damaged one, its own.
    positives = torch.as_tensor(dataset.positives)[labels]
    ignored = torch.as_tensor(dataset.ignored)[labels]
    scores = outputs.softmax(1).nan_to_num()
    found = mean_average_precision(scores, positives, ignored)
    eleven = mean_average_precision(scores, positives, ignored, interpolation='eleven_points')
    best = scores.argmax(1, keepdim=True)
    return {
        'map': found.mean,
        'map_11_points': eleven.mean,
        'hit_at_1': float(positives.gather(1, best).float().mean()),
        'images': len(outputs),
        'per_class': dict(zip(dataset.labels, found.per_class)),
    }
