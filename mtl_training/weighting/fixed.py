"""Fixed weighting: the user says how much each task counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

from mtl_training.weighting.contract import Losses, Weighting
import torch
from torch import Tensor


class FixedWeighting(Weighting):
    """
    Sum the mean losses times the weights given, as they are (Xin et al., 2022).

    :param tasks: The names of all tasks.
    :param weights: One number per task, not negative, of which at least one is not 0.
    :raises ValueError: If a task has no weight, a weight no task, or a number is none of these.
    """

    def __init__(self, tasks: Sequence[str], *, weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        missing = [task for task in tasks if task not in weights]
        unknown = [task for task in weights if task not in self.tasks]
        if missing or unknown:
            raise ValueError(
                f'weights must name each task once: missing {missing}, unknown {unknown}.'
            )
        for task, value in weights.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and 0 <= value < math.inf):
                raise ValueError(
                    f"weights: that of '{task}' must be a number of at least 0, got {value!r}."
                )
        if not any(weights.values()):
            raise ValueError('weights: at least one must not be 0.')
        self._weights = {task: float(weights[task]) for task in tasks}

    def combine(self, losses: Losses) -> Tensor:
        """Return the weighted sum of the task losses."""
        return torch.stack([self._weights[t] * loss.mean() for t, loss in losses.items()]).sum()

    def weights(self) -> dict[str, float]:
        """Return the weights given."""
        return dict(self._weights)
