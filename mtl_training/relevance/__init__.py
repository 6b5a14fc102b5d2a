"""
Whether a clip has anything to do with a task: learnt from which data set each clip came from.

Nobody labels a clip of walking as "no gesture". A small head per task, beside its classification
head, is fitted after the training on the features of all tasks' clips and of backgrounds that
belong to none, and all scores are calibrated on the validation split. The trained weights stay as
they are, so this works with every sharing method and disturbs no comparison of them.
"""

from mtl_training.relevance.calibration import calibrate
from mtl_training.relevance.features import collect_features, Features
from mtl_training.relevance.fitting import with_relevance
from mtl_training.relevance.scenes import evaluate_scenes, SceneEvaluation
from mtl_training.relevance.sources import build_sources, Sources

__all__ = [
    'Features',
    'SceneEvaluation',
    'Sources',
    'build_sources',
    'calibrate',
    'collect_features',
    'evaluate_scenes',
    'with_relevance',
]
