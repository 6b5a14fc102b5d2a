"""Naive alternation: the data of the tasks in turn, whatever the others forget meanwhile."""

from mtl_training.regimes.rounds import RoundsRegime


class AlternatingRegime(RoundsRegime):
    """Train on the data of the tasks in turn, an epoch each; the others forget (equation 5)."""
