"""
Rendered scenes of articulated people, seeded and fast, with all their truth.

A :class:`Scene` holds what a seed decides; :func:`render` paints it; :class:`SyntheticClips` is a
data set of it, :class:`SyntheticFrames` one of single frames with the truth of everybody in them;
``python -m mtl_training scenes`` streams, films or shows it.
"""

from mtl_training.data.synthetic.clips import SyntheticClips
from mtl_training.data.synthetic.frames import SyntheticFrames
from mtl_training.data.synthetic.labels import ACTIONS, ACTIVITIES, FLIP_LABELS, GESTURES
from mtl_training.data.synthetic.rendering import render, RenderedClip, SceneRenderer
from mtl_training.data.synthetic.scene import Scene

__all__ = [
    'ACTIONS',
    'ACTIVITIES',
    'FLIP_LABELS',
    'GESTURES',
    'RenderedClip',
    'Scene',
    'SceneRenderer',
    'SyntheticClips',
    'SyntheticFrames',
    'render',
]
