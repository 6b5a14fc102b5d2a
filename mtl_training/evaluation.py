"""Evaluating a network on data sets, through the preprocessing it has on the robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_training.data.loading import evaluation_batches
from mtl_training.data.sample import ClipBatch, ClipDataset
from mtl_training.metrics import ConfusionMatrix, Evaluation
from mtl_training.processes import sum_over_processes
import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy


class TaskInputs(nn.Module):
    """
    Turn the frames of each task's batch into what the task's trunk takes.

    :param config: The network's config.
    :param channels_last: Use the memory layout in which channels are innermost.
    :param dtype: Of the clips: that of the network's parameters.
    """

    def __init__(
        self,
        config: NetworkConfig,
        *,
        channels_last: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._dtype = dtype
        self._trunk_of = {task: config.tasks[task].trunk for task in config.tasks}
        self._layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.preprocessors = nn.ModuleDict(
            {name: FramePreprocessor(trunk.preprocessing) for name, trunk in config.trunks.items()}
        )

    def forward(self, batches: Mapping[str, ClipBatch]) -> dict[str, Tensor]:
        """Return normalised clips, ``[B, 3, T, h, w]`` per task."""
        clips: dict[str, Tensor] = {}
        for task, batch in batches.items():
            preprocessor = self.preprocessors[self._trunk_of[task]]
            assert isinstance(preprocessor, FramePreprocessor)
            normalised = preprocessor.clips(batch.frames).to(self._dtype)
            clips[task] = normalised.contiguous(memory_format=self._layout)
        return clips


@torch.no_grad()
def evaluate(
    network: MultiTaskNetwork,
    datasets: Mapping[str, ClipDataset],
    *,
    batch_size: int = 32,
    device: torch.device | None = None,
    workers: int = 0,
    channels_last: bool = False,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[str, int], None] = lambda task, clips: None,
    share: tuple[int, int] = (0, 1),
) -> Evaluation:
    """
    Run a network over whole data sets.

    :param network: In evaluation mode, usually deployed.
    :param datasets: One per task; tasks of the network may be absent.
    :param on_batch: Called with the task and the number of clips after each batch.
    :param share: This process and how many there are: each evaluates its share of the clips, and
        all get the result of all.
    """
    device = device or torch.device('cpu')
    dtype = next(network.parameters()).dtype
    inputs = TaskInputs(network.config, channels_last=channels_last, dtype=dtype).to(device)
    result = Evaluation({task: ConfusionMatrix(d.labels) for task, d in datasets.items()})
    for task, dataset in datasets.items():
        total = torch.zeros((), dtype=torch.float64)
        for batch in evaluation_batches(dataset, batch_size, workers=workers, share=share):
            batch = batch.to(device)
            with autocast():
                logits = network.forward_tasks(inputs({task: batch}))[task].float()
            total += cross_entropy(logits, batch.labels, reduction='sum').double().cpu()
            result.confusions[task].update(logits.argmax(1), batch.labels)
            on_batch(task, len(batch.labels))
        if share[1] > 1:
            counts = result.confusions[task].counts
            result.confusions[task].counts = sum_over_processes(counts.to(device)).cpu()
            total = sum_over_processes(total.to(device)).cpu()
        result.losses[task] = float(total) / max(1, len(dataset))
    return result
