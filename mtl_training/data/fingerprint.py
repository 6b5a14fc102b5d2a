"""What tells one list of samples from another, without opening any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mtl_training.data.captioned import CaptionedClips
from mtl_training.data.label_noise import NoisyLabels
from mtl_training.data.multi_label import MultiLabelClips
from mtl_training.data.sample import AnyDataset
from mtl_training.data.synthetic import SyntheticClips, SyntheticFrames
from mtl_training.data.videos.clips import VideoClips

_DIGITS = 16


def fingerprint(dataset: AnyDataset) -> dict[str, Any]:
    """
    Return the number of samples, and a hash of what identifies each of them, in order.

    The hash is that of nothing where the config and the number say which samples there are.
    """
    digest = sha256()
    for identity in _identities(dataset):
        digest.update(f'{identity}\n'.encode(errors='surrogateescape'))
    return {'count': len(dataset), 'hash': digest.hexdigest()[:_DIGITS]}


def check_same_samples(
    then: Mapping[str, dict[str, Any]], now: Mapping[str, dict[str, Any]], run: Path
) -> None:
    """
    Check that a run would go on with the training samples that it began with.

    Their places in the list decide which are drawn, which get a wrong label, and whose weight is
    whose.

    :param then: The fingerprint of every task, as the run stored it.
    :param run: Its folder.
    :raises ValueError: If the samples of a task are others now.
    """
    for task, before in then.items():
        if now[task] != before:
            others = ' others' if now[task]['count'] == before['count'] else ''
            raise ValueError(
                f"'{run}' holds a run with other training samples of task '{task}': "
                f'{before["count"]} then, {now[task]["count"]}{others} now. '
                'Restore the files, or start a new run with another --out.'
            )


def _identities(dataset: Any) -> Iterator[str]:
    if isinstance(dataset, NoisyLabels):
        yield from _identities(dataset.dataset)
    elif isinstance(dataset, CaptionedClips):
        yield from _identities(dataset.clips)
        if isinstance(dataset.clips, VideoClips):
            for index in range(len(dataset)):
                yield repr([dataset.sentences[row] for row in dataset.truths(index)])
    elif isinstance(dataset, MultiLabelClips):
        yield from _identities(dataset.clips)
        for row in (dataset.positives.int() - dataset.ignored.int()).tolist():
            yield repr(row)
    elif isinstance(dataset, VideoClips):
        for entry in dataset.entries:
            yield f'{entry.path} {entry.label} {entry.frames}'
    # What is rendered follows from the config, and takes milliseconds a sample to describe.
    elif hasattr(dataset, 'describe') and not isinstance(
        dataset, SyntheticClips | SyntheticFrames
    ):
        for index in range(len(dataset)):
            yield dataset.describe(index)
