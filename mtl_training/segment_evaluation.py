"""What a network reaches on the windows of features of one task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_training.data.graph_sample import GraphBatch, UNKNOWN
from mtl_training.edit_distance import best_distances
import numpy as np
import torch
from torch import Tensor

NUM_GUESSES = 5  # sequences of future actions that are drawn of each window; the best one counts
SEED = 0


@dataclass(slots=True)
class SegmentRows:
    """
    A figure in each of some columns for every window of a task, as they come.

    A window's row depends on nothing but the network and the window: neither on the batch that it
    is in nor on the process that looks at it.

    :param kind: One of the graph kinds.
    """

    kind: str
    num_guesses: int = NUM_GUESSES
    columns: dict[str, list[Tensor]] = field(default_factory=dict)  # float32 [B], on the CPU

    def add(self, outputs: Any, batch: GraphBatch, losses: Tensor) -> None:
        """
        Take in a batch.

        :param outputs: Of the task, for the batch.
        :param losses: Of the windows, ``[B]``.
        """
        figures = self._figures(outputs, batch) | {'loss': losses}
        for name, values in figures.items():
            self.columns.setdefault(name, []).append(values.float().cpu())

    def joined(self, others: Iterable[SegmentRows] = ()) -> dict[str, Tensor]:
        """Return all rows, those of other processes too, ``[N]`` per column."""
        parts = [self, *others]
        return {
            name: torch.cat([values for part in parts for values in part.columns.get(name, [])])
            for name in self.columns
        }

    def _figures(self, outputs: Any, batch: GraphBatch) -> dict[str, Tensor]:
        if self.kind == 'recognition':
            return {
                group: logits.argmax(1) == batch.targets[:, g]
                for g, (group, logits) in enumerate(outputs.items())
            }
        if self.kind == 'anticipation':
            return edit_figures(outputs, batch, self.num_guesses)
        if self.kind == 'state_change':
            return {'accuracy': outputs.argmax(1) == batch.targets}
        length_sec, truth_sec = batch.seconds.unbind(1)
        found_sec = outputs.argmax(1) * length_sec / outputs.shape[1]
        return {'error_sec': (found_sec - truth_sec).abs()}


def edit_figures(
    outputs: Mapping[str, Tensor], batch: GraphBatch, num_guesses: int
) -> dict[str, Tensor]:
    """
    Return the edit distance of each window and group: the best of some drawn sequences.

    Every label of a sequence is drawn by itself, from its softmax. The draws are those of the
    window's index.

    :param outputs: Logits, ``[B, F, C]`` per group.
    :return: ``[B]`` per group; NaN where no label of the future is known.
    """
    shape = (num_guesses, len(outputs), batch.targets.shape[1])
    rows = [np.random.default_rng([SEED, i]).random(shape) for i in batch.indices.tolist()]
    draws = torch.from_numpy(np.stack(rows, axis=2))  # [K, G, B, F]
    targets, figures = batch.targets.cpu(), {}
    for g, (group, logits) in enumerate(outputs.items()):
        shares = logits.detach().double().cpu().nan_to_num().softmax(2).cumsum(2)
        # The last sum may be a little below 1.
        samples = torch.stack([
            torch.searchsorted(shares, row.unsqueeze(2), right=True).squeeze(2)
            for row in draws[:, g]
        ]).clamp_max(logits.shape[2] - 1)  # fmt: skip
        truth = targets[..., g]
        known = (truth != UNKNOWN).any(1)
        distances = best_distances(samples, truth, UNKNOWN)
        figures[group] = distances.masked_fill(~known, torch.nan)
    return figures


def segment_figures(kind: str, rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """
    Return the figures of a task from those of its windows.

    Windows about whose future nothing is known have no say.

    :param kind: One of the graph kinds.
    :return: ``samples``, ``score`` in [0, 1], the higher the better, and ``accuracy`` (recognition
        per group, state_change), ``edit_distance`` (anticipation, per group) or ``error_sec``.
    """
    samples = len(rows['loss'])
    means = {name: _mean(values) for name, values in rows.items() if name != 'loss'}
    mean = sum(means.values()) / len(means)
    if kind == 'recognition':
        return {'accuracy': means, 'samples': samples, 'score': mean}
    if kind == 'anticipation':
        return {'edit_distance': means, 'samples': samples, 'score': 1 - mean}
    if kind == 'state_change':
        return {**means, 'samples': samples, 'score': mean}
    return {**means, 'samples': samples, 'score': 1 - min(mean, 1.0)}


def shown_figures(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a person reads of the figures of a task, one text per figure."""
    for name, text in (('accuracy', '{:.1%}'), ('edit_distance', 'ED {:.3f}')):
        found = row.get(name, {})
        if isinstance(found, Mapping):
            yield from (f'{group} {text.format(value)}' for group, value in found.items())
        else:
            yield text.format(found)
    if 'error_sec' in row:
        yield f'error {row["error_sec"]:.2f} s'


def _mean(values: Tensor) -> float:
    known = values[~values.isnan()]
    # Of nothing known: the worst, as of labels that are wrong.
    return float(known.double().mean()) if len(known) else 1.0
