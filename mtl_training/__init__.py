"""
Training of the one network, never on the robot.

Rooms: ``data`` (data sets, multi-task sampling, synthetic scenes), ``weighting`` (how the losses
of the tasks become one update), ``regimes`` (how the tasks take turns). The only thing that
crosses to the robot is the checkpoint, see :mod:`mtl_perception.checkpoint`.
"""
