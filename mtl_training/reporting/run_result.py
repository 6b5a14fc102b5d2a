"""One run as a report sees it, and the spread of a figure over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
import statistics
from typing import Any

from mtl_training.config import TrainingConfig
from mtl_training.reporting.scores import mean_score, scores_of


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """
    One run; entries that its folder does not have are empty.

    :param status: finished, failed, unfinished, not started, or superseded: by a newer run of the
        same config and seed.
    :param regime: How the tasks took turns; empty where no run of the report tells.
    :param at_a_time: Runs of its comparison that shared the machine; 0 if that is not known.
    :param figures: Of the test split, or else of the validation split.
    :param row: Runs of other tasks with the same one are one method; empty for most.
    :param counts_answers: Whether the runs of its data set have classes alone, so that the share
        of right answers over all tasks tells how good they are; else their mean score does.
    """

    data: str
    sharing: str
    weighting: str
    seed: int
    folder: Path
    status: str
    config: TrainingConfig | None = None
    reason: str = ''
    split: str = ''
    command: str = ''
    git_revision: str = ''
    at_a_time: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    regime: str = ''
    row: str = ''
    counts_answers: bool = True

    @property
    def name(self) -> str:
        """Return its name for people."""
        return f'{self.data} / {self.method_name} / seed {self.seed}'

    @property
    def method_name(self) -> str:
        """Return what is combined in it, for people."""
        return ' / '.join(filter(None, (self.sharing, self.weighting, self.regime)))

    @property
    def cumulative_accuracy(self) -> float | None:
        """Return the share of right labels; None where no task has labels."""
        # Of nothing it is 0 in the figures.
        known = self.figures.get('accuracy')
        return self.figures.get('cumulative_accuracy') if known else None

    @property
    def scores(self) -> dict[str, float]:
        """Return what stands for each of its tasks, in [0, 1]."""
        return scores_of(self.figures)

    @property
    def overall(self) -> float | None:
        """Return what tells how good it is: its cumulative accuracy, or its mean score."""
        return self.cumulative_accuracy if self.counts_answers else mean_score(self.figures)

    @property
    def novel(self) -> str:
        """Return the task that it learnt after the others; empty where there is none."""
        return self.config.regime.settings.get('novel', '') if self.config else ''

    @property
    def has_rounds(self) -> bool:
        """Tell whether its tasks were trained in turn, and judged after each."""
        return any(record.get('round') is not None for record in self.records)

    @property
    def sharing_methods(self) -> set[str]:
        """Return the sharing methods of its trunks, as configs name them."""
        return {t.sharing for t in self.config.network.trunks.values()} if self.config else set()

    @property
    def weighting_method(self) -> str:
        """Return its weighting, as configs name it."""
        return self.config.weighting.name if self.config else ''


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation; the latter needs two values."""

    mean: float
    deviation: float | None
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and sample standard deviation; None of nothing."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))
