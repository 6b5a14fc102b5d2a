"""What tasks forget and recover while they are trained in turn, from the records of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import statistics
from typing import Any, Literal

CaptionFigure = Literal['r1', 'r5', 'r10']
CAPTION_FIGURES: tuple[CaptionFigure, ...] = ('r1', 'r5', 'r10')
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundCurve:
    """
    The metric of one task after each round of a run.

    A change counts where the round before it is known as well, and only after the first round
    that trained the task: what was never learnt is neither forgotten nor recovered.

    :param task: Its name.
    :param metric: What the values are: ``accuracy``, the figure of a caption task, or ``map``.
    :param rounds: In ascending order; -1 is the state before the first round.
    :param values: In [0, 1], the higher the better, one per round.
    :param trained: Whether the round trained the task.
    """

    task: str
    metric: str
    rounds: tuple[int, ...]
    values: tuple[float, ...]
    trained: tuple[bool, ...]

    @property
    def forgetting(self) -> float | None:
        """
        Return what a round that does not train the task takes from it, F.

        :return: The mean over these rounds of the metric before minus after, negative if it rose;
            None without such a round.
        """
        return _mean([-change for change, is_trained in self._changes() if not is_trained])

    @property
    def recovery(self) -> float | None:
        """
        Return what a round that trains the task again gives back.

        :return: The mean over these rounds of the metric after minus before; None without such a
            round. The gain of the first round that trains the task is learning: see
            :attr:`first_gain`.
        """
        return _mean([change for change, is_trained in self._changes() if is_trained])

    @property
    def first_gain(self) -> float | None:
        """Return the change of the first round that trains the task; None if it is not known."""
        first, value_of = self._first_trained(), dict(zip(self.rounds, self.values))
        if first is None or first - 1 not in value_of:
            return None
        return value_of[first] - value_of[first - 1]

    @property
    def final(self) -> float:
        """Return the value after the last round."""
        return self.values[-1]

    @property
    def best(self) -> float:
        """Return the highest value after any round."""
        return max(self.values)

    @property
    def best_round(self) -> int:
        """Return the round after which the value was highest, the first of several."""
        return self.rounds[self.values.index(self.best)]

    def figures(self) -> dict[str, float | None]:
        """Return ``forgetting``, ``recovery``, ``first_gain``, ``final`` and ``best``."""
        names = ('forgetting', 'recovery', 'first_gain', 'final', 'best')
        return {name: getattr(self, name) for name in names}

    def _first_trained(self) -> int | None:
        return next((r for r, trained in zip(self.rounds, self.trained) if trained), None)

    def _changes(self) -> Iterator[tuple[float, bool]]:
        """Yield the change of the metric in a round, and whether the round trains the task."""
        first, value_of = self._first_trained(), dict(zip(self.rounds, self.values))
        for round_, value, trained in zip(self.rounds, self.values, self.trained):
            if first is not None and round_ > first and round_ - 1 in value_of:
                yield value - value_of[round_ - 1], trained


def round_curves(
    records: Sequence[Record], caption_figure: CaptionFigure = 'r1'
) -> dict[str, RoundCurve]:
    """
    Return the curve of each task over the rounds of a run.

    :param records: Of ``metrics.jsonl``, in its order; only validations at the ends of rounds
        count, and of several for one round the last.
    :param caption_figure: What stands for a caption task.
    :return: Tasks in the order in which the records have them; a task need not be in all of them.
    :raises ValueError: If no record is of a round, or the figure is not one of recall at k, of
        which more is better.
    """
    if caption_figure not in CAPTION_FIGURES:
        raise ValueError(
            f"caption_figure must be one of {list(CAPTION_FIGURES)}, got '{caption_figure}'."
        )
    found = {r['round']: r for r in records if r['kind'] == 'val' and r.get('round') is not None}
    if not found:
        raise ValueError(
            f'records must have validations of rounds, got none among {len(records)} records.'
        )
    rounds = {number: found[number] for number in sorted(found)}
    values = {number: _values(record, caption_figure) for number, record in rounds.items()}
    metrics = {task: name for row in values.values() for task, (name, _) in row.items()}
    curves = {}
    for task, metric in metrics.items():
        known = [number for number in rounds if task in values[number]]
        curves[task] = RoundCurve(
            task=task,
            metric=metric,
            rounds=tuple(known),
            values=tuple(values[number][task][1] for number in known),
            trained=tuple(task in rounds[number]['trained'] for number in known),
        )
    return curves


def _values(record: Record, caption_figure: CaptionFigure) -> dict[str, tuple[str, float]]:
    """Return what a record says of each task: the name of the metric and its value."""
    accuracies = {task: ('accuracy', value) for task, value in record['accuracy'].items()}
    captions = {
        task: (caption_figure, row[caption_figure])
        for task, row in record.get('captions', {}).items()
    }
    multilabel = {
        task: ('map', row['map'])
        for task, row in record.get('multilabel', {}).items()
        if row['map'] is not None
    }
    return accuracies | captions | multilabel


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
