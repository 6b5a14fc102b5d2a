"""
The demo: camera and perception as real ROS 2 nodes, watched by a third process.

``python -m mtl_perception.ros.demo`` shows rendered people whose actions and gestures are known,
and counts what was recognised; with ``--video`` it shows any video or camera instead. The nodes
are processes of their own and talk over DDS; this process only listens.
"""

from mtl_perception.ros.demo.command import main
from mtl_perception.ros.demo.demo import INTERRUPTED

__all__ = ['INTERRUPTED', 'main']
