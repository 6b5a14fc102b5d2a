"""What a run reached in each of its tasks, whatever kinds they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Sections of figures with a score in [0, 1] for each of their tasks.
SCORED = ('captions', 'people', 'segments')
# How a section calls the number of its samples.
COUNTS = {'captions': 'queries', 'multilabel': 'images', 'segments': 'samples'}


def scores_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """
    Return what stands for each task: its accuracy, mean average precision or score.

    :param figures: Of an evaluation, or a record of the log.
    """
    scores = dict(figures.get('accuracy', {}))
    found = {task: row.get('map') for task, row in figures.get('multilabel', {}).items()}
    for section in SCORED:
        found |= {task: row.get('score') for task, row in figures.get(section, {}).items()}
    return scores | {task: score for task, score in found.items() if score is not None}


def mean_score(figures: Mapping[str, Any]) -> float | None:
    """Return the mean of the scores of the tasks; None where there is none."""
    scores = scores_of(figures)
    return sum(scores.values()) / len(scores) if scores else None


def samples_of(figures: Mapping[str, Any]) -> dict[str, int]:
    """Return how many samples each task was judged on, as far as it is told."""
    samples = dict(figures.get('samples', {}))
    for section, name in COUNTS.items():
        rows = figures.get(section, {})
        samples |= {task: row[name] for task, row in rows.items() if name in row}
    return samples


def has_only_classes(figures: Mapping[str, Any]) -> bool:
    """Tell whether every task has one class per sample, so that right answers can be counted."""
    return not any(figures.get(section) for section in (*SCORED, 'multilabel'))
