"""What each kind of task is asked to fit: one file per kind, one line in the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.heads import settings_of
from mtl_training.criteria.activity import ActivityCriterion
from mtl_training.criteria.association import AssociationCriterion
from mtl_training.criteria.caption import CaptionCriterion
from mtl_training.criteria.classification import ClassificationCriterion, sample_losses
from mtl_training.criteria.contract import Criterion
from mtl_training.criteria.detection import DetectionCriterion
from mtl_training.criteria.keypoints import KeypointCriterion
from mtl_training.criteria.segments import (
    AnticipationCriterion,
    PointOfNoReturnCriterion,
    RecognitionCriterion,
    StateChangeCriterion,
)
from mtl_training.tables import call_with
from torch import nn

__all__ = ['CRITERIA', 'Criterion', 'build_criteria', 'sample_losses']

CRITERIA: dict[str, type[Criterion]] = {
    'classification': ClassificationCriterion,
    'caption': CaptionCriterion,
    'detection': DetectionCriterion,
    'keypoints': KeypointCriterion,
    'association': AssociationCriterion,
    'activity': ActivityCriterion,
    'recognition': RecognitionCriterion,
    'anticipation': AnticipationCriterion,
    'state_change': StateChangeCriterion,
    'point_of_no_return': PointOfNoReturnCriterion,
}


def build_criteria(
    network: NetworkConfig, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> nn.ModuleDict:
    """
    Build the criterion of every task of a network.

    :param settings: Of the criteria, per task.
    :raises ValueError: If a setting is unknown or breaks its rule.
    """
    criteria = nn.ModuleDict()
    for name, task in network.tasks.items():
        required = (settings_of(name, task),) if task.kind == 'association' else ()
        own = dict((settings or {}).get(name, {}))
        criteria[name] = call_with(CRITERIA[task.kind], f"loss of task '{name}'", required, own)
    return criteria
