"""Joint training: every iteration trains all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_training.data.sample import ClipBatch
from mtl_training.regimes.contract import Forward, Regime, sample_losses
from mtl_training.weighting.contract import TaskLoss
from torch import Tensor


class JointRegime(Regime):
    """
    Train all tasks in every iteration, each on its own batch (Caruana, 1997).

    :param tasks: The names of all tasks.
    :param label_smoothing: Share of the target spread over all labels, in [0, 1).
    """

    def __init__(self, tasks: Sequence[str], *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing must be in [0, 1), got {label_smoothing}.')
        super().__init__(tasks)
        self._label_smoothing = label_smoothing

    def losses(
        self, forward: Forward, batches: Mapping[str, ClipBatch]
    ) -> tuple[dict[str, TaskLoss], dict[str, Tensor]]:
        """Return the cross-entropies of the tasks present, and their logits."""
        present = {task: batch for task, batch in batches.items() if len(batch.labels)}
        logits = forward(present)
        losses = {
            task: TaskLoss(
                values=sample_losses(
                    logits[task], batch.labels, label_smoothing=self._label_smoothing
                ).mean(0),
                indices=batch.indices,
            )
            for task, batch in present.items()
        }
        return losses, logits
