"""How the losses of the tasks become one update: one file per method, one line in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_training.tables import call_with, choose
from mtl_training.weighting.average import AverageWeighting
from mtl_training.weighting.contract import (
    is_finite,
    Losses,
    NotFiniteError,
    StepContext,
    TaskLoss,
    Weighting,
)
from mtl_training.weighting.instance_level import InstanceLevelWeighting

__all__ = [
    'WEIGHTINGS',
    'AverageWeighting',
    'InstanceLevelWeighting',
    'Losses',
    'NotFiniteError',
    'StepContext',
    'TaskLoss',
    'Weighting',
    'build_weighting',
    'is_finite',
]

WEIGHTINGS: dict[str, type[Weighting]] = {
    'average': AverageWeighting,
    'instance_level': InstanceLevelWeighting,
}


def build_weighting(name: str, tasks: Sequence[str], **settings: Any) -> Weighting:
    """Build the weighting that a config names."""
    factory = choose(WEIGHTINGS, name, 'weighting')
    return call_with(factory, f"weighting '{name}'", (tasks,), settings)
