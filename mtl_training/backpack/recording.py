"""Prototypes of a finished network: what its tasks see of every label that they know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_perception.network.temporal_graph.prototypes import PrototypeBank
from mtl_training.backpack.concept_means import ConceptMeans
from mtl_training.backpack.novel_task import graph_of
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.data.loading import evaluation_batches
import torch


@torch.no_grad()
def with_prototypes(
    network: MultiTaskNetwork,
    trunk: str,
    datasets: Mapping[str, Any],
    known: Sequence[str],
    *,
    device: torch.device,
    batch_size: int = 64,
    on_windows: Callable[[int], object] = lambda count: None,
) -> MultiTaskNetwork:
    """
    Return a copy of a network whose memory trunk has prototypes; its weights stay as they are.

    The concepts are the labels of all tasks of recognition that have data; the prototype of a
    known task is the mean of its features over the training windows of a concept, whichever task
    they are of (Peirone et al., CVPR 2024, section 3.2, with the concepts of several tasks).

    :param network: In evaluation mode.
    :param datasets: Of tasks of recognition of the trunk, of the training split, not augmented.
    :param known: Tasks of the trunk that get prototypes.
    :param on_windows: Told how many windows have been seen.
    """
    network = network.to(device)
    means: dict[str, list[torch.Tensor]] = {task: [] for task in known}
    count = 0
    for task, dataset in datasets.items():
        found = ConceptMeans(dataset.concept_of, len(dataset.concepts))
        for batch in evaluation_batches(dataset, batch_size):
            assert isinstance(batch, GraphBatch)
            batch = batch.to(device)
            found.add(network.project(task, batch.features, known), batch)
            count += len(batch.indices)
            on_windows(count)
        for name, values in found.means(known).items():
            means[name].append(values)
    concepts = concept_names({task: dataset.concepts for task, dataset in datasets.items()})
    grown = _with_concepts(network.cpu(), trunk, known, concepts)
    bank = cast('PrototypeBank', grown.prototypes[trunk])
    for name, parts in means.items():
        bank.store(name, torch.cat(parts))
    return grown


def concept_names(concepts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the concepts of several tasks; equal ones get the name of their task."""
    counts = Counter(name for names in concepts.values() for name in names)
    return tuple(
        name if counts[name] == 1 else f'{name} ({task})'
        for task, names in concepts.items()
        for name in names
    )


def _with_concepts(
    network: MultiTaskNetwork, trunk: str, known: Sequence[str], concepts: tuple[str, ...]
) -> MultiTaskNetwork:
    config = network.config
    graph = replace(graph_of(config.trunks[trunk]), known=tuple(known), concepts=concepts)
    trunks = {**config.trunks, trunk: replace(config.trunks[trunk], graph=graph)}
    grown = MultiTaskNetwork(replace(config, trunks=trunks))
    state = network.state_dict()
    before = {k: v for k, v in state.items() if not k.startswith(f'prototypes.{trunk}.')}
    missing, extra = grown.load_state_dict(before, strict=False)
    assert not extra
    assert all(name.startswith(f'prototypes.{trunk}.') for name in missing)
    return grown.eval()
