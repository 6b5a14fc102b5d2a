"""Running many paths through copies of layers, computing what paths have in common once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm

Path = tuple[int, ...]
# The rows of a batch, from the first to before the last, and what has been made of them so far.
Node = tuple[tuple[int | None, int | None], Path]


def evaluate_paths(
    layers: nn.ModuleList,
    x: Tensor,
    rows: Mapping[str, slice],
    paths: Mapping[str, Collection[Path]],
) -> dict[str, dict[Path, Tensor]]:
    """
    Return what each path makes of the rows of its task.

    The paths from the same rows are a tree: an equal beginning runs once. All that enters a copy
    of a layer runs as one batch, unless the norms of the copy would mix it.

    :param layers: For each layer a ``ModuleList`` of its copies.
    :param x: ``[B, ...]``.
    :param rows: The rows of each task.
    :param paths: Of each task, distinct or not; a path names a copy of each layer.
    :return: By task and path.
    """
    sources = {task: (own.start, own.stop) for task, own in rows.items()}
    wanted = [(sources[task], path) for task in rows for path in paths[task]]
    outputs: dict[Node, Tensor] = {(sources[task], ()): x[own] for task, own in rows.items()}
    for depth, copies in enumerate(layers, 1):
        inputs: dict[int, dict[Node, Tensor]] = {}
        for source, path in wanted:
            before = outputs[source, path[: depth - 1]]
            inputs.setdefault(path[depth - 1], {})[source, path[:depth]] = before
        outputs = {}
        for number, batches in inputs.items():
            copy = cast('nn.ModuleList', copies)[number]
            outputs.update(zip(batches, _run(copy, list(batches.values()))))
    return {task: {path: outputs[sources[task], path] for path in paths[task]} for task in rows}


def _run(module: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    if len(batches) == 1 or _mixes_samples(module):
        return [module(batch) for batch in batches]
    merged: Tensor = module(torch.cat(list(batches)))
    return list(merged.split([len(batch) for batch in batches]))


def _mixes_samples(module: nn.Module) -> bool:
    """Tell whether a batch norm of the module takes its statistics from the batch."""
    norms = (m for m in module.modules() if isinstance(m, _BatchNorm))
    return any(norm.training or norm.running_mean is None for norm in norms)
