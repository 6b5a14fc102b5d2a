"""What a run has done so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mtl_training.optimisation import Plateau


@dataclass(slots=True)
class RunProgress:
    """What a run has done so far; survives a resume."""

    best: float = -1.0
    best_iteration: int = 0
    wall_sec: float = 0.0
    cpu_sec: float = 0.0
    num_skipped: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    stage: int = 0
    plateau: Plateau = field(default_factory=Plateau)  # of the stage

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return {**facts, 'plateau': asdict(self.plateau)}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> RunProgress:
        """Return what :meth:`facts` described."""
        plateau = Plateau(**facts.get('plateau', {}))
        return cls(**{**facts, 'samples': Counter(facts['samples']), 'plateau': plateau})
