"""
What turns a stream of camera frames into recognitions: numpy and torch, no ROS.

Frames enter a :class:`~mtl_perception.runtime.recognizer.Recognizer` on one thread and results
leave it on another; the buffers between them are what makes that safe.
"""

from mtl_perception.runtime.clip_buffer import Admission, Clip, ClipBuffer
from mtl_perception.runtime.drawing import draw_labels, draw_people, PersonView
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.recognizer import Recognizer
from mtl_perception.runtime.results import (
    Caption,
    FrameResult,
    PersonResult,
    Recognition,
    RecognitionSettings,
    Results,
)
from mtl_perception.runtime.sentence_keeper import SentenceKeeper
from mtl_perception.runtime.smoothing import Smoother, top_labels
from mtl_perception.runtime.statistics import Counters, Rate, RollingStatistics

__all__ = [
    'Admission',
    'Caption',
    'Clip',
    'ClipBuffer',
    'Counters',
    'Engine',
    'FrameResult',
    'PersonResult',
    'PersonView',
    'Picture',
    'Rate',
    'Recognition',
    'RecognitionSettings',
    'Recognizer',
    'Results',
    'RollingStatistics',
    'SentenceKeeper',
    'Smoother',
    'draw_labels',
    'draw_people',
    'top_labels',
]
