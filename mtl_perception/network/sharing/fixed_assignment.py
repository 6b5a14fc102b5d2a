"""What is left of learned weight sharing on the robot: one path per task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from mtl_perception.network.sharing.prefix_tree import evaluate_paths, Path
from mtl_perception.network.sharing.rows import RowSharing
from mtl_perception.network.sharing.stages import Stages
from torch import nn, Tensor


class FixedAssignment(RowSharing):
    """
    One path per task through copies of layers, without the copies that no task uses.

    :param early: The stages that all tasks share.
    :param names: Of the layers after them.
    :param layers: For each of these a ``ModuleList`` of its copies.
    :param paths: The number of the copy in each layer, per task.
    :param pool: From the last layer's output to ``[B, D]``.
    """

    def __init__(
        self,
        early: Stages,
        names: Sequence[str],
        layers: nn.ModuleList,
        paths: Mapping[str, Path],
        *,
        pool: Callable[[Tensor], Tensor],
        feature_dim: int,
    ) -> None:
        super().__init__(list(paths))
        used = [sorted(set(numbers)) for numbers in zip(*paths.values())]
        self.early = early
        self.layers = nn.ModuleList(
            nn.ModuleList(cast('nn.ModuleList', copies)[number] for number in numbers)
            for copies, numbers in zip(layers, used)
        )
        self._names = list(names)
        self._paths = {
            task: [tuple(numbers.index(number) for number, numbers in zip(path, used))]
            for task, path in paths.items()
        }
        self._pool = pool
        self.feature_dim = feature_dim

    def copies(self) -> list[tuple[str, nn.Module]]:
        """Return the shared stages, then the copies of each layer that a task uses."""
        return [*self.early.items(), *named_copies(self._names, self.layers)]

    def _run(self, clips: Tensor, rows: Mapping[str, slice]) -> dict[str, Tensor]:
        outputs = evaluate_paths(self.layers, self.early(clips), rows, self._paths)
        return {task: self._pool(*found.values()) for task, found in outputs.items()}


def named_copies(names: Iterable[str], layers: nn.ModuleList) -> list[tuple[str, nn.Module]]:
    """Return every copy of every layer with the name of its layer."""
    return [(name, copy) for name, copies in zip(names, layers) for copy in copies.children()]
