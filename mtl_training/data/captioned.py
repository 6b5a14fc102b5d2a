"""Clips and the sentences that are true of them, one of which is drawn for each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import re
from typing import Protocol

from mtl_training.data.decoding import Frame
from mtl_training.data.sample import ClipDataset, ClipSample, describe, varies
import numpy as np
from numpy.typing import NDArray
import torch

# Takes M sentences and returns their embeddings, float32 [M, E], unit vectors.
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
_SIDES = re.compile(r'\b(?:left|right|(?:anti|counter)?-?clockwise)', re.IGNORECASE)


class PlainClips(Protocol):
    """Clips that can be had as they are, and varied afterwards."""

    split: str

    def __len__(self) -> int: ...

    def plain(self, index: int) -> tuple[Frame, int]:
        """Return the frames of a clip, and the number of the clip that they are of."""

    def varied(self, frames: Frame, *, may_mirror: bool) -> tuple[Frame, bool]:
        """Return another clip that shows the same, and whether it is mirrored."""


class CaptionedClips:
    """
    A data set of clips with captions, as tasks of kind caption learn from.

    The label of a sample is the row of ``targets`` of one of the clip's sentences: in training
    one that is drawn from torch's random state, all being equally likely, or else the first. A
    sentence that several clips share is one row. A clip whose sentence names a side is never
    mirrored, for its mirror image is not what the sentence says.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        task: str,
        clips: PlainClips,
        captions: Sequence[Sequence[str]],
        embed: Embed,
        *,
        may_mirror: bool = True,
    ) -> None:
        """
        Embed every sentence once.

        :param task: Name of the task.
        :param clips: What the sentences are about.
        :param captions: The sentences of each clip.
        :param embed: Places sentences in the space that the task learns.
        :param may_mirror: False where the words for sides are not known: not in English.
        :raises ValueError: If a clip has no sentence.
        """
        self.task, self.split, self.clips = task, clips.split, clips
        rows: dict[str, int] = {}
        self._rows = [
            tuple(dict.fromkeys(rows.setdefault(sentence, len(rows)) for sentence in said))
            for said in captions
        ]
        if () in self._rows or len(self._rows) != len(clips):
            raise ValueError(
                f"task '{task}': each of the {len(clips)} clips needs a caption, got captions of "
                f'{sum(map(bool, self._rows))}.'
            )
        self.sentences = tuple(rows)
        self.targets = torch.from_numpy(np.ascontiguousarray(embed(self.sentences), np.float32))
        self._may_mirror = [may_mirror and not names_a_side(text) for text in self.sentences]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipSample:
        """Return a clip and the row of one of its sentences."""
        frames, shown = self.clips.plain(index)
        rows = self._rows[shown]
        row = rows[int(torch.randint(len(rows), ())) if self.split == 'train' else 0]
        frames, _ = self.clips.varied(frames, may_mirror=self._may_mirror[row])
        return ClipSample(torch.from_numpy(frames), row, index)

    @property
    def varies(self) -> bool:
        """Tell whether its clips, not the sentences, are others whenever they are asked for."""
        return varies(self.clips)

    def truths(self, index: int) -> Sequence[int]:
        """Return the rows of all sentences that are true of a clip."""
        return self._rows[index]

    def describe(self, index: int) -> str:
        """Return where a clip came from."""
        return describe(self._described(), index)

    def video_of(self, index: int) -> str:
        """Return the video that a clip is a part of."""
        method = getattr(self.clips, 'video_of', None)
        return str(index) if method is None else str(method(index))

    def _described(self) -> ClipDataset:
        return self.clips  # type: ignore[return-value]


def names_a_side(sentence: str) -> bool:
    """Tell whether a sentence may say something else of the mirror image, by its English words."""
    return _SIDES.search(sentence) is not None
