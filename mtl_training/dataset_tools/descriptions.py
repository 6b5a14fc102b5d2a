"""What the data sets of a config hold, counted from their lists and annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import re
from typing import Any

from mtl_training.config import TrainingConfig
from mtl_training.data.annotations.voc2012 import PRESENT
from mtl_training.data.frame_sample import FrameDataset, UNKNOWN
from mtl_training.data.graph_sample import GraphDataset
from mtl_training.data.segments.actions import RecognitionWindows
from mtl_training.data.segments.changes import StateChangeWindows
from mtl_training.data.segments.clip_features import ClipFeatures
from mtl_training.dataset_tools.listing import (
    captions_of_files,
    clip_index,
    frame_dataset,
    has_captions,
    lists_videos,
    looks_at_frames,
    looks_at_windows,
    merged_members,
    multi_label_index,
    rendered_captions,
    rendered_clips,
    shows_several,
    warnings_of_data,
    windows,
)

NUM_NAMED = 3  # examples of what is missing
OnImage = Callable[[int, int], object]


@dataclass(slots=True)
class SplitDescription:
    """
    One split of one task.

    :param unit: What its samples are: clips, images or windows.
    :param counts: Of each label: clips that show it, people who do it, joints that are annotated;
        ``None`` where the data set does not tell.
    :param missing: What its lists name and the disk lacks; ``None`` where only ``notes`` tell.
    :param groups: Sources of which clips must stay together, as far as they have names.
    :param people: Of data sets of frames: people, regions of crowds, and joints.
    :param captions: Of data sets of captions: sentences, different ones, and different words.
    :param members: Of each class of merged data sets, the ``part/class`` that it is made of.
    :param origins: Of each class of merged data sets, the number of clips of each part.
    :param error: Why it can't be described; all else is empty then.
    """

    task: str
    split: str
    dataset: str
    unit: str = 'clips'
    num_samples: int = 0
    labels: tuple[str, ...] = ()
    counts: list[int] | None = None
    missing: int | None = None
    missing_examples: list[str] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    people: dict[str, int] = field(default_factory=dict)
    captions: dict[str, int] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    origins: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ''


def describe_all(
    config: TrainingConfig,
    chosen: Sequence[tuple[str, str]],
    on_image: OnImage = lambda done, total: None,
) -> list[SplitDescription]:
    """
    Describe tasks and splits; those that are not there say why, and the others are described.

    :param on_image: Told how many images of how many have been counted, where that takes time.
    """
    found = []
    for task, split in chosen:
        described = SplitDescription(task, split, config.data[task].dataset)
        try:
            with warnings_of_data() as described.notes:
                _describe(described, config, on_image)
        except (ValueError, OSError) as error:
            described.error = ' '.join(str(error).split())
        found.append(described)
    _note_shared_groups(found)
    return found


def _describe(described: SplitDescription, config: TrainingConfig, on_image: OnImage) -> None:
    task, split = described.task, described.split
    if looks_at_frames(config, task):
        _describe_frames(described, config, on_image)
    elif looks_at_windows(config, task):
        _describe_windows(described, windows(config, task, split))
    elif has_captions(config, task):
        _describe_captions(described, config)
    elif shows_several(config, task):
        pictures = multi_label_index(config, task, split)
        described.unit, described.labels = 'images', pictures.labels
        described.num_samples = len(pictures.flags)
        described.counts = (pictures.flags == PRESENT).sum(0).tolist()
        _note_missing(described, pictures.clips.missing)
    elif lists_videos(config, task):
        index, _ = clip_index(config, task, split)
        described.labels, described.counts = index.labels, index.counts()
        described.num_samples = len(index.entries)
        _note_missing(described, index.missing)
        described.groups = {entry.group for entry in index.entries if entry.group}
        described.members = merged_members(config, task, split)
        if described.members:
            parts = config.data[task].of_split(split)['parts']
            described.origins = _origins(index.entries, index.labels, parts)
    else:
        clips = rendered_clips(config, task, split)
        described.labels, described.num_samples = clips.labels, len(clips)
        if hasattr(clips, 'counts'):
            described.counts = clips.counts()


def _note_missing(described: SplitDescription, missing: Sequence[str]) -> None:
    described.missing = len(missing)
    described.missing_examples = [*missing[:NUM_NAMED]]


def _describe_captions(described: SplitDescription, config: TrainingConfig) -> None:
    task, split = described.task, described.split
    files = captions_of_files(config, task, split)
    if files is None:
        clips = rendered_captions(config, task, split)
        described.num_samples = len(clips)
        said = [clips.sentences[row] for i in range(len(clips)) for row in clips.truths(i)]
    else:
        described.num_samples = len(files.files)
        said = [sentence for file in files.files for sentence in file.captions]
        _note_missing(described, files.missing)
        if files.uncaptioned:
            example = f"{len(files.uncaptioned)} have no caption, such as '{files.uncaptioned[0]}'"
            described.notes.append(example)
    words = {word for sentence in said for word in re.findall(r"[\w'-]+", sentence.lower())}
    described.captions = {
        'sentences': len(said),
        'different': len(set(said)),
        'words': len(words),
    }


def _origins(
    entries: Sequence[Any], labels: Sequence[str], parts: dict[str, dict[str, Any]]
) -> dict[str, dict[str, int]]:
    roots = {part: str(block.get('root', '')) for part, block in parts.items()}
    counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for entry in entries:
        part = entry.group.partition('/')[0]
        if part not in parts:
            path = str(entry.path)
            part = next((p for p, root in roots.items() if root and path.startswith(root)), '?')
        counts[labels[entry.label]][part] += 1
    return {label: dict(count) for label, count in counts.items()}


def _describe_windows(described: SplitDescription, dataset: GraphDataset) -> None:
    described.unit, described.num_samples = 'windows', len(dataset)
    if isinstance(dataset, RecognitionWindows | ClipFeatures):
        counts = Counter(dataset.concept_of(index) for index in range(len(dataset)))
        described.labels = dataset.concepts
        described.counts = [counts[i] for i in range(len(dataset.concepts))]
    elif isinstance(dataset, StateChangeWindows):
        described.labels, described.counts = dataset.labels, dataset.counts()


def _describe_frames(
    described: SplitDescription, config: TrainingConfig, on_image: OnImage
) -> None:
    task, split = described.task, described.split
    kind = config.network.tasks[task].kind
    described.unit = 'images'
    # Which of them are there, and what is annotated in these; no image is decoded.
    there = frame_dataset(config, task, split, with_images=True)
    truth = frame_dataset(config, task, split, with_images=False)
    described.labels, described.num_samples = tuple(there.labels), len(there)
    described.missing = len(truth) - len(there)
    people = Counter({'people': 0, 'crowds': 0, 'joints': 0})
    counts = [0] * len(there.labels)
    for index in range(len(truth)):
        on_image(index + 1, len(truth))
        _count(truth, index, kind, people, counts)
    described.people, described.counts = dict(people), counts


def _count(
    dataset: FrameDataset, index: int, kind: str, people: Counter[str], counts: list[int]
) -> None:
    sample = dataset[index]
    is_person = ~sample.is_crowd
    joints = (sample.keypoints[is_person][:, -1, :, 2] > 0).sum(0).tolist()
    people['people'] += int(is_person.sum())
    people['crowds'] += int(sample.is_crowd.sum())
    people['joints'] += sum(joints)
    if kind == 'activity':
        for label in sample.activities[is_person].tolist():
            if label != UNKNOWN:
                counts[label] += 1
    elif kind == 'detection':
        counts[0] += int(is_person.sum())
    else:
        counts[:] = [count + more for count, more in zip(counts, joints)]


def _note_shared_groups(found: Sequence[SplitDescription]) -> None:
    """Note what must stay together and does not: it makes figures better than they are."""
    for train in (d for d in found if d.split == 'train'):
        for other in found:
            if other.task == train.task and other.split != 'train':
                shared = sorted(train.groups & other.groups)
                if shared:
                    other.notes.append(
                        f"{len(shared)} of its groups are in train too, such as '{shared[0]}'"
                    )
