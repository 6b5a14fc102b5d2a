"""How well people are found in images: boxes, poses, and what they do."""

from mtl_training.pose_metrics.activities import across_folds, ActivityReport, pooled
from mtl_training.pose_metrics.evaluation import PoseEvaluation
from mtl_training.pose_metrics.matching import match_people
from mtl_training.pose_metrics.people import FoundPeople, TruePeople

__all__ = [
    'ActivityReport',
    'FoundPeople',
    'PoseEvaluation',
    'TruePeople',
    'across_folds',
    'match_people',
    'pooled',
]
