"""
What turns a stream of camera frames into recognitions: numpy and torch, no ROS.

Frames enter a :class:`~mtl_perception.runtime.recognizer.Recognizer` on one thread and
recognitions leave it on another; the clip buffer between them is what makes that safe.
"""

from mtl_perception.runtime.clip_buffer import Admission, Clip, ClipBuffer
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognition, Recognizer
from mtl_perception.runtime.smoothing import Smoother, top_labels
from mtl_perception.runtime.statistics import Counters, Rate, RollingStatistics

__all__ = [
    'Admission',
    'Clip',
    'ClipBuffer',
    'Counters',
    'Engine',
    'Picture',
    'Rate',
    'Recognition',
    'Recognizer',
    'RollingStatistics',
    'Smoother',
    'top_labels',
]
