"""What tasks on windows of features say, as probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtl_perception.network.config import NetworkConfig
from torch import Tensor

# Task and group of its labels; '' of tasks that have no groups.
SegmentKey = tuple[str, str]


def segment_logits(outputs: Mapping[str, Any]) -> Iterator[tuple[SegmentKey, Tensor]]:
    """Return the logits of each group of each task, without the axis of batches."""
    for task, output in outputs.items():
        groups = output if isinstance(output, Mapping) else {'': output}
        for group, logits in groups.items():
            yield (task, group), logits[0].float()


def segment_scores(config: NetworkConfig, outputs: Mapping[str, Any]) -> dict[SegmentKey, Tensor]:
    """
    Return the probabilities of one window of each task, float32.

    :param outputs: Of the network, per task, with a batch of one.
    :return: Of labels ``[C]`` (recognition) or ``[F, C]`` (anticipation), of no change and of a
        change ``[2]``, and for each node that it is the point of no return ``[N]``.
    """
    return {
        (task, group): logits.sigmoid()
        if config.tasks[task].kind == 'point_of_no_return'
        else logits.softmax(-1)
        for (task, group), logits in segment_logits(outputs)
    }
