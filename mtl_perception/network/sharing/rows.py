"""Running the batches of several tasks as one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from mtl_perception.network.sharing.contract import SharingMethod
import torch
from torch import Tensor


class RowSharing(SharingMethod):
    """
    A method that runs one batch for several tasks, each of which reads its rows.

    A subclass implements :meth:`_run`; all the ways forward follow from it.
    """

    @abstractmethod
    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        """
        Return the features of each task for its rows of a batch.

        :param clips: ``[B, 3, T, H, W]``.
        :param rows: Per task; either they divide the batch or all tasks read all of it.
        :return: ``[B_task, D]`` per task, in the order of ``rows``.
        """

    def _begin(self) -> None:
        """Prepare one forward pass of all tasks, whatever the number of batches it runs."""

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the features of the same clips for every task; what they share runs once."""
        self._begin()
        return self._run(clips, dict.fromkeys(self.tasks, slice(None)))

    def forward_task(self, clips: Tensor, task: str) -> Tensor:
        """Return the features of clips that belong to one task."""
        self._check_task(task)
        self._begin()
        return self._run(clips, {task: slice(None)})[task]

    def forward_tasks(
        self, clips: Mapping[str, Tensor], *, merge: bool = True
    ) -> dict[str, Tensor]:
        """Return the features of each task's own clips; merged, one pass per clip shape."""
        groups: dict[object, list[str]] = {}
        for task, batch in clips.items():
            self._check_task(task)
            groups.setdefault(tuple(batch.shape[1:]) if merge else task, []).append(task)
        self._begin()
        features: dict[str, Tensor] = {}
        for tasks in groups.values():
            batches = [clips[task] for task in tasks]
            merged = batches[0] if len(batches) == 1 else torch.cat(batches)
            rows, start = {}, 0
            for task, batch in zip(tasks, batches):
                rows[task] = slice(start, start + len(batch))
                start += len(batch)
            features.update(self._run(merged, rows))
        return {task: features[task] for task in clips}
