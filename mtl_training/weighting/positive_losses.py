"""Which weightings can't weigh losses that may be negative."""

from __future__ import annotations

from collections.abc import Mapping

from mtl_training.criteria.contract import Criterion
from mtl_training.weighting.contract import Weighting


def check_signs(
    weighting: Weighting, name: str, criteria: Mapping[str, Criterion | type[Criterion]]
) -> None:
    """
    Check that a weighting can weigh the losses of all tasks.

    :param name: Of the weighting, for the message.
    :param criteria: What each task fits.
    :raises ValueError: If it needs positive losses, and one may be negative.
    """
    for task, criterion in criteria.items():
        if criterion.may_be_negative and weighting.needs_positive_loss(task):
            raise ValueError(
                f"weighting '{name}' needs positive losses, but that of task '{task}' may be "
                'negative: use average, fixed, rlw or a method that weighs gradients alone, such '
                'as pcgrad, upgrad or nash_mtl.'
            )
