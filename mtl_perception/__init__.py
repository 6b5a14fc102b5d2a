"""
Perception of people for human-robot interaction: what runs on the robot.

Rooms, and who may import whom: ``ros -> runtime -> sentences -> network``;
:mod:`mtl_perception.checkpoint` reads and writes the one file format that crosses from training to
the robot, :mod:`mtl_perception.sentences` places sentences where clips are embedded.
"""

from pkgutil import extend_path

# The generated messages (mtl_perception.msg) live in the install tree. When the source tree comes
# first on sys.path, this is what lets Python find them there.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
