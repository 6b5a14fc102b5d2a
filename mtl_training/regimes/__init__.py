"""How the tasks take turns: one file per regime, one line in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_training.regimes.contract import Forward, Regime, sample_losses
from mtl_training.regimes.joint import JointRegime
from mtl_training.tables import call_with, choose

__all__ = ['REGIMES', 'Forward', 'JointRegime', 'Regime', 'build_regime', 'sample_losses']

REGIMES: dict[str, type[Regime]] = {
    'joint': JointRegime,
}


def build_regime(name: str, tasks: Sequence[str], **settings: Any) -> Regime:
    """Build the regime that a config names."""
    factory = choose(REGIMES, name, 'regime')
    return call_with(factory, f"regime '{name}'", (tasks,), settings)
