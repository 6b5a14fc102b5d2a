"""The forward passes of a training step, from the batches of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from mtl_perception.network.config import GRAPH_KINDS
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.data.sample import Batch
from mtl_training.inputs import TaskInputs
from mtl_training.processes import own_draws
from torch import nn, Tensor

NOISY_KINDS = ('association', 'activity', *GRAPH_KINDS)  # whose parts have noise or dropout


class Passes:
    """
    The network of a run with its preprocessing and precision, as regimes call it.

    :param merge: Run the batches of all tasks through what they share in one pass.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        inputs: TaskInputs,
        autocast: Callable[[], AbstractContextManager[object]],
        *,
        merge: bool = True,
    ) -> None:
        self._network, self._inputs = network, inputs
        self._autocast, self._merge = autocast, merge

    def __call__(self, batches: Mapping[str, Batch]) -> dict[str, Any]:
        """Return the outputs of each task for its own batch."""
        # Noise and dropout: each process has its own number of people, or its own windows.
        tasks = self._network.config.tasks
        noisy = [task for task in batches if tasks[task].kind in NOISY_KINDS]
        draws = own_draws if noisy else nullcontext
        with draws():
            inputs = self._inputs(batches)
        others = {task: values for task, values in inputs.items() if task not in noisy}
        with self._autocast():
            outputs = self._network.forward_tasks(others, merge=self._merge)
            with draws():
                own = {task: inputs[task] for task in noisy}
                outputs |= self._network.forward_tasks(own, merge=self._merge)
        return {task: outputs[task] for task in batches}

    def of_heads(
        self, task: str, batch: Batch, heads: Sequence[str], network: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Return what several tasks say of the clips of one; by another network, if given."""
        inputs = self._inputs({task: batch})[task]
        with self._autocast():
            asked = self._network if network is None else cast('MultiTaskNetwork', network)
            return asked.forward_heads(task, inputs, heads)

    def project(self, task: str, batch: Batch, heads: Sequence[str]) -> dict[str, Tensor]:
        """Return the features that several tasks have of the windows of one, ``[B, H]`` each."""
        inputs = self._inputs({task: batch})[task]
        with self._autocast():
            return self._network.project(task, inputs, heads)
