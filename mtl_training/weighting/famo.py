"""Fast adaptive multitask optimisation: all losses fall at the same relative rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_training.weighting.scaling import check_positive, LOSS_FLOOR, LossWeighting, Present
from mtl_training.weighting.vector_adam import VectorAdam
import torch
from torch import Tensor


class FAMOWeighting(LossWeighting):
    """
    All losses fall at the same relative rate, from their values alone (FAMO, Liu et al., 2023).

    The factor of a task is ``z / L``, scaled to a sum of 1, with ``z`` a softmax of learned
    logits over the tasks present. After each update the logits of tasks whose loss fell more than
    others', in logarithms, get lower: Adam on ``J^T log(L_before / L_after) + gamma * logits``
    with the Jacobian of the softmax (algorithm 1). It costs another forward pass of the batch.

    :param tasks: The names of all tasks.
    :param lr: Learning rate of the logits.
    :param gamma: Decay of the logits towards equal weights.
    :param normalise: Scale the weights to a sum of the number of tasks present instead of 1.
    """

    uses_losses_after = True
    needs_positive_losses = True

    logits: Tensor  # float32 [tasks]

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        lr: float = 0.025,
        gamma: float = 1e-3,
        normalise: bool = True,
    ) -> None:
        super().__init__(tasks, normalise=normalise)
        check_positive(lr=lr)
        if not 0 <= gamma < 1:
            raise ValueError(f'gamma must lie in [0, 1), got {gamma}.')
        self.register_buffer('logits', torch.zeros(len(self.tasks)))
        self.adam = VectorAdam(len(self.tasks), lr=lr, weight_decay=gamma)
        self._before: Present | None = None  # of the step that is being done

    def log_factors(self, present: Present) -> Tensor:
        """Return the logarithms of ``z / L`` over their sum."""
        self._before = present
        return (self.logits[present.rows].log_softmax(0) - _log(present.means)).log_softmax(0)

    @torch.no_grad()
    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Move the logits by how much each loss has fallen."""
        before, self._before = self._before, None
        assert before is not None, 'no step was done'
        after = torch.stack([losses[self.tasks[row]].float() for row in before.rows])
        fallen = _log(before.means) - _log(after)
        if not torch.isfinite(fallen).all():
            return
        logits = self.logits[before.rows]
        shares = logits.softmax(0)
        gradients = shares * (fallen - (shares * fallen).sum())
        self.logits[before.rows] = self.adam.updated(logits, gradients, before.rows)


def _log(losses: Tensor) -> Tensor:
    return (losses + LOSS_FLOOR).log()
