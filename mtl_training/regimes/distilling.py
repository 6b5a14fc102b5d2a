"""Disjoint multi-task learning with distillation (Kim et al., WACV 2018)."""

from mtl_training.regimes.rounds import RememberingRegime


class DistillingRegime(RememberingRegime):
    """Train on the data of the tasks in turn; the others stay with what they said before."""
