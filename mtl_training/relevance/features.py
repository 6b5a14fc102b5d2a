"""What the heads of all tasks see of clips of all data sets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.loading import evaluation_batches
from mtl_training.data.sample import ClipBatch, ClipDataset
from mtl_training.relevance.sources import Sources
import torch
from torch import Tensor
from torch.utils.data import Subset


@dataclass(slots=True)
class Features:
    """Features of clips for each task, and where the clips come from; float32, on the CPU."""

    of: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # task -> source -> [N, D]
    labels: dict[str, Tensor] = field(default_factory=dict)  # source -> [N], in its data set

    def own(self, task: str) -> tuple[Tensor, Tensor]:
        """Return the features of a task's own clips, ``[N, D]``, and their labels, ``[N]``."""
        return self.of[task][task], self.labels[task]

    def mixed(self, task: str, nothing: int) -> tuple[Tensor, Tensor]:
        """
        Return the features of all clips for a task, and what is to be said of them.

        :param nothing: What stands for the label of clips that are not the task's own.
        :return: ``[N, D]`` and ``[N]``.
        """
        answers = [
            labels if source == task else torch.full_like(labels, nothing)
            for source, labels in self.labels.items()
        ]
        return torch.cat([self.of[task][source] for source in self.labels]), torch.cat(answers)


@torch.no_grad()
def collect_features(
    network: MultiTaskNetwork,
    sources: Sources,
    *,
    max_clips: int | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
    workers: int = 0,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[str, int], None] = lambda source, clips: None,
) -> Features:
    """
    Run all clips of all data sets through all trunks.

    :param network: In evaluation mode, usually deployed.
    :param sources: One split of the data sets.
    :param max_clips: Take so many of each data set, spread evenly over it; None takes all.
    :param on_batch: Called with the data set's name and the number of clips after each batch.
    """
    device = device or torch.device('cpu')
    dtype = next(network.parameters()).dtype
    found = Features()
    for trunk, datasets in sources.items():
        preprocessor = FramePreprocessor(network.config.trunks[trunk].preprocessing).to(device)
        for source, dataset in datasets.items():
            parts: dict[str, list[Tensor]] = {}
            labels = []
            chosen = _spread(dataset, max_clips)
            for batch in evaluation_batches(chosen, batch_size, workers=workers):
                assert isinstance(batch, ClipBatch)
                clips = preprocessor.clips(batch.frames.to(device)).to(dtype)
                with autocast():
                    features = network.features({trunk: clips})
                for task, values in features.items():
                    parts.setdefault(task, []).append(values.float().cpu())
                labels.append(batch.labels)
                on_batch(source, len(batch.labels))
            found.labels[source] = torch.cat(labels)
            for task, values_of_batches in parts.items():
                found.of.setdefault(task, {})[source] = torch.cat(values_of_batches)
    return found


def _spread(dataset: ClipDataset, count: int | None) -> ClipDataset:
    length = len(dataset)
    if count is None or count >= length:
        return dataset
    # Not the first ones: a data set of folders is sorted by class.
    return Subset(dataset, [i * length // count for i in range(count)])  # type: ignore[return-value, arg-type]
