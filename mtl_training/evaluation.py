"""Evaluating a network on data sets, through the preprocessing it has on the robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import cast

from mtl_perception.network.config import CLIP_KINDS, FRAME_KINDS, GRAPH_KINDS
from mtl_perception.network.multitask import MultiTaskNetwork
from mtl_training.clip_evaluation import ClipOutputs, judge
from mtl_training.criteria import CRITERIA
from mtl_training.data.frame_sample import FrameDataset
from mtl_training.data.graph_sample import GraphBatch
from mtl_training.data.loading import evaluation_batches
from mtl_training.data.sample import AnyDataset, ClipBatch, ClipDataset
from mtl_training.frame_evaluation import FrameEvaluation, FrameEvaluator, MIN_PERSON_SCORE
from mtl_training.inputs import TaskInputs
from mtl_training.metrics import Evaluation
from mtl_training.processes import gather_objects
from mtl_training.segment_evaluation import segment_figures, SegmentRows
from mtl_training.test_time_augmentation import NO_AUGMENTATION, TestTimeAugmentation
import torch
from torch import nn


@torch.no_grad()
def evaluate(
    network: MultiTaskNetwork,
    datasets: Mapping[str, AnyDataset],
    *,
    criteria: nn.ModuleDict | None = None,
    augmentation: TestTimeAugmentation = NO_AUGMENTATION,
    min_person_score: float = MIN_PERSON_SCORE,
    batch_size: int = 32,
    device: torch.device | None = None,
    workers: int = 0,
    channels_last: bool = False,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[str, int], None] = lambda task, clips: None,
    share: tuple[int, int] = (0, 1),
) -> Evaluation:
    """
    Run a network over whole data sets.

    :param network: In evaluation mode, usually deployed.
    :param datasets: One per task; tasks of the network may be absent. Frame tasks whose data sets
        share their images are evaluated together.
    :param criteria: What the tasks fit; without them the losses of frame tasks are not computed.
    :param augmentation: Scales and mirror images that the frame tasks average over.
    :param min_person_score: Of the boxes of people whose activities are judged.
    :param on_batch: Called with the task and the number of clips after each batch.
    :param share: This process and how many there are: each evaluates its share of the clips, and
        all get the result of all.
    """
    device = device or torch.device('cpu')
    dtype = next(network.parameters()).dtype
    inputs = TaskInputs(network.config, channels_last=channels_last, dtype=dtype)
    inputs = inputs.to(device).eval()
    kinds = {task: network.config.tasks[task].kind for task in datasets}
    clips = {t: cast('ClipDataset', d) for t, d in datasets.items() if kinds[t] in CLIP_KINDS}
    result = Evaluation()
    for task, dataset in clips.items():
        found = ClipOutputs()
        for batch in evaluation_batches(dataset, batch_size, workers=workers, share=share):
            assert isinstance(batch, ClipBatch)
            batch = batch.to(device)
            with autocast():
                outputs = network.forward_tasks(inputs({task: batch}))[task]
            found.add(outputs, batch.labels, batch.indices)
            on_batch(task, len(batch.labels))
        # All get the result of all: each has its own share of the clips.
        shares = gather_objects(found) if share[1] > 1 else [found]
        judge(result, task, kinds[task], dataset, shares[0].joined(shares[1:]))
    for task in (task for task, kind in kinds.items() if kind in GRAPH_KINDS):
        has_own = criteria is not None and task in criteria
        criterion = criteria[task] if has_own else CRITERIA[kinds[task]]()  # type: ignore[index]
        rows = SegmentRows(kinds[task])
        for batch in evaluation_batches(datasets[task], batch_size, workers=workers, share=share):
            assert isinstance(batch, GraphBatch)
            batch = batch.to(device)
            with autocast():
                outputs = network.forward_tasks(inputs({task: batch}))[task]
            rows.add(outputs, batch, criterion(outputs, batch).mean(0))
            on_batch(task, len(batch.indices))
        first, *others = gather_objects(rows) if share[1] > 1 else [rows]
        figures = first.joined(others)
        result.losses[task] = float(figures['loss'].mean())
        result.segments[task] = segment_figures(kinds[task], figures)
    evaluator = FrameEvaluator(network, inputs, criteria, autocast, augmentation, min_person_score)
    for tasks, images in groups_of(datasets, kinds):
        people = evaluator.run(
            evaluation_batches(images, batch_size, workers=workers, share=share),  # type: ignore[arg-type]
            tasks,
            device=device,
            on_batch=partial(on_batch, tasks[0]),
        )
        if share[1] > 1:
            people = _of_all_processes(people)
        result.frames.append(people)
        result.losses |= people.losses()
        result.people |= people.figures()
        if people.num_known:
            result.confusions[next(t for t in tasks if kinds[t] == 'activity')] = (
                people.activities.confusion
            )
    return result


def groups_of(
    datasets: Mapping[str, AnyDataset], kinds: Mapping[str, str]
) -> list[tuple[list[str], FrameDataset]]:
    """Return the frame tasks that see the same images, and the data set of each group."""
    groups: dict[int, tuple[list[str], FrameDataset]] = {}
    for task, dataset in datasets.items():
        if kinds[task] in FRAME_KINDS:
            shared = cast('FrameDataset', getattr(dataset, 'shared', dataset))
            groups.setdefault(id(shared), ([], shared))[0].append(task)
    return [*groups.values()]


def _of_all_processes(own: FrameEvaluation) -> FrameEvaluation:
    first, *others = gather_objects(own)
    for other in others:
        first.merge(other)
    return first
