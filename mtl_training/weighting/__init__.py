"""How the losses of the tasks become one update: one file per method, one line in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_training.tables import call_with, choose
from mtl_training.weighting.aligned_mtl import AlignedMTLWeighting
from mtl_training.weighting.auto_lambda import AutoLambdaWeighting
from mtl_training.weighting.automatic import AutomaticWeighting
from mtl_training.weighting.average import AverageWeighting
from mtl_training.weighting.cagrad import CAGradWeighting
from mtl_training.weighting.conflict_free import ConFIGWeighting
from mtl_training.weighting.contract import (
    Losses,
    NotFiniteError,
    StepContext,
    TaskLoss,
    Weighting,
)
from mtl_training.weighting.db_mtl import DBMTLWeighting
from mtl_training.weighting.dwa import DWAWeighting
from mtl_training.weighting.excess_mtl import ExcessMTLWeighting
from mtl_training.weighting.fairgrad import FairGradWeighting
from mtl_training.weighting.famo import FAMOWeighting
from mtl_training.weighting.fixed import FixedWeighting
from mtl_training.weighting.gls import GLSWeighting
from mtl_training.weighting.graddrop import GradDropWeighting
from mtl_training.weighting.gradnorm import GradNormWeighting
from mtl_training.weighting.gradvac import GradVacWeighting
from mtl_training.weighting.imtl_g import IMTLGWeighting
from mtl_training.weighting.imtl_l import IMTLLWeighting
from mtl_training.weighting.instance_level import InstanceLevelWeighting
from mtl_training.weighting.mgda import MGDAWeighting
from mtl_training.weighting.moco import MoCoWeighting
from mtl_training.weighting.nash_mtl import NashMTLWeighting
from mtl_training.weighting.pcgrad import PCGradWeighting
from mtl_training.weighting.rlw import RLWWeighting
from mtl_training.weighting.stch import STCHWeighting
from mtl_training.weighting.uncertainty import UncertaintyWeighting
from mtl_training.weighting.upgrad import UPGradWeighting

__all__ = [
    'WEIGHTINGS',
    'AlignedMTLWeighting',
    'AutoLambdaWeighting',
    'AutomaticWeighting',
    'AverageWeighting',
    'CAGradWeighting',
    'ConFIGWeighting',
    'DBMTLWeighting',
    'DWAWeighting',
    'ExcessMTLWeighting',
    'FAMOWeighting',
    'FairGradWeighting',
    'FixedWeighting',
    'GLSWeighting',
    'GradDropWeighting',
    'GradNormWeighting',
    'GradVacWeighting',
    'IMTLGWeighting',
    'IMTLLWeighting',
    'InstanceLevelWeighting',
    'Losses',
    'MGDAWeighting',
    'MoCoWeighting',
    'NashMTLWeighting',
    'NotFiniteError',
    'PCGradWeighting',
    'RLWWeighting',
    'STCHWeighting',
    'StepContext',
    'TaskLoss',
    'UPGradWeighting',
    'UncertaintyWeighting',
    'Weighting',
    'build_weighting',
]

WEIGHTINGS: dict[str, type[Weighting]] = {
    'average': AverageWeighting,
    'auto_lambda': AutoLambdaWeighting,
    'automatic': AutomaticWeighting,
    'dwa': DWAWeighting,
    'famo': FAMOWeighting,
    'fixed': FixedWeighting,
    'gls': GLSWeighting,
    'gradnorm': GradNormWeighting,
    'imtl_l': IMTLLWeighting,
    'rlw': RLWWeighting,
    'stch': STCHWeighting,
    'uncertainty': UncertaintyWeighting,
    'instance_level': InstanceLevelWeighting,
    'aligned_mtl': AlignedMTLWeighting,
    'cagrad': CAGradWeighting,
    'config': ConFIGWeighting,
    'db_mtl': DBMTLWeighting,
    'excess_mtl': ExcessMTLWeighting,
    'fairgrad': FairGradWeighting,
    'graddrop': GradDropWeighting,
    'gradvac': GradVacWeighting,
    'imtl_g': IMTLGWeighting,
    'mgda': MGDAWeighting,
    'moco': MoCoWeighting,
    'nash_mtl': NashMTLWeighting,
    'pcgrad': PCGradWeighting,
    'upgrad': UPGradWeighting,
}


def build_weighting(name: str, tasks: Sequence[str], **settings: Any) -> Weighting:
    """Build the weighting that a config names."""
    factory = choose(WEIGHTINGS, name, 'weighting')
    return call_with(factory, f"weighting '{name}'", (tasks,), settings)
