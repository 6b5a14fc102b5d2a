"""What a regime asks of a run when a round begins: outputs of its network on training samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from lightning_fabric import Fabric
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.backpack.concept_means import ConceptMeans
from mtl_training.config import TrainingConfig
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.data.loading import build_dataset, evaluation_batches
from mtl_training.data.sample import AnyDataset, Batch, varies
from mtl_training.inputs import TaskInputs
from mtl_training.passes import Passes
from mtl_training.processes import gather_objects
from mtl_training.regimes.memory import recordable
import torch
from torch import Tensor


class RunRecorder:
    """
    Records of one run's network on its training samples; see :class:`Recorder`.

    :param network: The one in training, or its average.
    :param datasets: Of the training split.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainingConfig,
        network: MultiTaskNetwork,
        inputs: TaskInputs,
        datasets: Mapping[str, AnyDataset],
    ) -> None:
        self._fabric, self._config = fabric, config
        self.network, self._datasets = network, datasets
        self._passes = Passes(network, inputs, fabric.autocast)

    @torch.no_grad()
    def outputs(self, task: str, heads: Sequence[str]) -> dict[str, Tensor]:
        """Return what other tasks say of all training samples of a task, in evaluation mode."""
        dataset, fabric = self._datasets[task], self._fabric
        rows: dict[str, list[Tensor]] = {head: [] for head in heads}
        with self._evaluating():
            for batch in self._batches(dataset):
                found = self._passes.of_heads(task, batch, heads)
                for head, values in found.items():
                    rows[head].append(recordable(values, head, self.network).cpu())
        own = {head: torch.cat(parts) for head, parts in rows.items()}
        if fabric.world_size == 1:
            return own
        # Each process did every world_size-th sample.
        shares = gather_objects(own)
        joined = {head: torch.empty(len(dataset), own[head].shape[1]) for head in heads}
        for rank, share in enumerate(shares):
            for head in heads:
                joined[head][rank :: fabric.world_size] = share[head]
        return joined

    @torch.no_grad()
    def prototypes(self, task: str, heads: Sequence[str]) -> dict[str, Tensor]:
        """Return the mean features that tasks have of the training windows of each concept."""
        data, network = self._config.data[task], self.network.config
        dataset: Any = build_dataset(task, data, 'train', network, augment=False)
        found = ConceptMeans(dataset.concept_of, len(dataset.concepts))
        with self._evaluating():
            for batch in self._batches(dataset):
                found.add(self._passes.project(task, batch, heads), cast('GraphBatch', batch))
        return found.means(heads)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        before = [(module, module.training) for module in self.network.modules()]
        self.network.eval()
        try:
            yield
        finally:
            for module, training in before:
                module.training = training

    def _batches(self, dataset: AnyDataset) -> Iterator[Batch]:
        """Yield the share of this process, on its device."""
        fabric = self._fabric
        for batch in evaluation_batches(
            dataset,
            self._config.evaluation.batch_size,
            workers=self._config.workers,
            share=(fabric.global_rank, fabric.world_size),
        ):
            yield batch.to(fabric.device)

    def varies(self, task: str) -> bool:
        """Tell whether the training samples of a task are others whenever they are asked for."""
        return varies(self._datasets[task])
