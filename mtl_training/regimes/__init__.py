"""How the tasks take turns: one file per regime, one line in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_training.criteria import Criterion
from mtl_training.regimes.alternating import AlternatingRegime
from mtl_training.regimes.backpack import BackpackRegime
from mtl_training.regimes.contract import Forward, Regime, Round, Stage
from mtl_training.regimes.distilling import DistillingRegime
from mtl_training.regimes.joint import JointRegime
from mtl_training.regimes.one_way import FinetuneRegime, LwfRegime
from mtl_training.regimes.staged import StagedRegime
from mtl_training.regimes.task_translation import TaskTranslationRegime
from mtl_training.tables import call_with, choose

__all__ = [
    'REGIMES',
    'AlternatingRegime',
    'BackpackRegime',
    'DistillingRegime',
    'FinetuneRegime',
    'Forward',
    'JointRegime',
    'LwfRegime',
    'Regime',
    'Round',
    'Stage',
    'StagedRegime',
    'TaskTranslationRegime',
    'build_regime',
]

REGIMES: dict[str, type[Regime]] = {
    'joint': JointRegime,
    'staged': StagedRegime,
    'alternating': AlternatingRegime,
    'distilling': DistillingRegime,
    'finetune': FinetuneRegime,
    'lwf': LwfRegime,
    'backpack': BackpackRegime,
    'task_translation': TaskTranslationRegime,
}


def build_regime(
    name: str,
    tasks: Sequence[str],
    criteria: Mapping[str, Criterion] | None = None,
    **settings: Any,
) -> Regime:
    """Build the regime that a config names."""
    factory = choose(REGIMES, name, 'regime')
    return call_with(factory, f"regime '{name}'", (tasks, criteria), settings)
