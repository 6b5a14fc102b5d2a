"""Joint training: every iteration trains all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_training.criteria import Criterion
from mtl_training.criteria.classification import ClassificationCriterion
from mtl_training.regimes.contract import Regime


class JointRegime(Regime):
    """
    Train all tasks in every iteration, each on its own batch (Caruana, 1997).

    :param tasks: The names of all tasks.
    :param criteria: What each of them fits.
    :param label_smoothing: Of the tasks of clips: share of the target spread over all labels, in
        [0, 1); 0 leaves each loss its own.
    :raises ValueError: If a loss has a smoothing of its own as well.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        criteria: Mapping[str, Criterion] | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(tasks, criteria)
        for task, criterion in self.criteria.items():
            if label_smoothing and isinstance(criterion, ClassificationCriterion):
                if criterion.label_smoothing:
                    raise ValueError(
                        f'label_smoothing must not be given twice, got {label_smoothing} of the '
                        f"regime and {criterion.label_smoothing} of task '{task}'."
                    )
                smoothed = ClassificationCriterion(label_smoothing=label_smoothing)
                if criterion.targets is not None:
                    smoothed.learn_targets(criterion.targets)
                self.criteria[task] = smoothed
