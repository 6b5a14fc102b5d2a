"""Prototypes of the known tasks: what the windows of each concept have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtl_training.data.graph_sample import GraphBatch
from mtl_training.processes import gather_objects
import torch
from torch import Tensor


class ConceptMeans:
    """
    Means of the features that tasks have of the windows of each concept (EgoPack, section 3.2).

    :param concept_of: From the index of a window to its concept, from 0 to C - 1.
    :param num_concepts: C.
    """

    def __init__(self, concept_of: Callable[[int], int], num_concepts: int) -> None:
        self._concept_of = concept_of
        self._counts = torch.zeros(num_concepts, dtype=torch.int64)
        self._sums: dict[str, Tensor] = {}  # float64 [C, H] per task

    def add(self, features: dict[str, Tensor], batch: GraphBatch) -> None:
        """
        Take in windows.

        :param features: ``[B, H]`` per task.
        """
        concepts = torch.tensor([self._concept_of(i) for i in batch.indices.tolist()])
        # Once per window, however many tasks look at it.
        self._counts += torch.bincount(concepts, minlength=len(self._counts))
        for task, values in features.items():
            values = values.double().cpu()
            if task not in self._sums:
                self._sums[task] = values.new_zeros(len(self._counts), values.shape[1])
            self._sums[task].index_add_(0, concepts, values)

    def means(self, tasks: Sequence[str]) -> dict[str, Tensor]:
        """
        Return the means over the windows of all processes, float32 ``[C, H]`` per task.

        :raises ValueError: If a concept has no window.
        """
        parts = gather_objects((self._counts, self._sums))
        counts = torch.stack([counts for counts, _ in parts]).sum(0)
        if not counts.all():
            raise ValueError(
                f'every concept needs a training window, got none for {int((counts == 0).sum())} '
                f'of {len(counts)}.'
            )
        return {
            task: (sum(sums[task] for _, sums in parts if task in sums) / counts[:, None]).float()
            for task in tasks
        }
