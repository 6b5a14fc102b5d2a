"""What data sets with captions list: files and the sentences that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class CaptionedFile(NamedTuple):
    """An image or clip and what people said of it."""

    name: str  # its id in the data set
    path: Path
    captions: tuple[str, ...]  # at least one


class CaptionTable(NamedTuple):
    """The sentences of a file of captions."""

    captions: dict[str, tuple[str, ...]]  # in the order of the file
    dropped: int  # sentences left out: empty, of another language, or of no file that can be


@dataclass(frozen=True, slots=True)
class Captions:
    """
    The captioned files of one split.

    :param files: In the order of the list of the split.
    :param missing: What the list names and the disk lacks.
    :param uncaptioned: What is on disk and nobody described.
    :param dropped: Number of sentences that the reader left out, of all splits.
    """

    files: tuple[CaptionedFile, ...]
    missing: tuple[str, ...]
    uncaptioned: tuple[str, ...]
    dropped: int

    def num_captions(self) -> int:
        """Return the number of sentences."""
        return sum(len(file.captions) for file in self.files)


def sentence(text: str) -> str:
    """Return a sentence on one line, single blanks between its words."""
    return ' '.join(text.split())


def gather(pairs: Iterable[tuple[str, str]], dropped: int = 0) -> CaptionTable:
    """
    Put the sentences of each name together; empty ones are dropped.

    :param pairs: Names and sentences.
    :param dropped: How many were left out before.
    """
    found: dict[str, list[str]] = {}
    for name, caption in pairs:
        if caption:
            found.setdefault(name, []).append(caption)
        else:
            dropped += 1
    return CaptionTable({name: tuple(captions) for name, captions in found.items()}, dropped)


def join_captions(
    names: Sequence[str], paths: Mapping[str, Path], table: CaptionTable, layout: str
) -> Captions:
    """
    Join the list of a split with what is on disk and with what was said of it.

    :param names: Of the split.
    :param paths: Of all files on disk, by name.
    :param layout: What the data set looks like, for messages.
    :raises ValueError: If no file of the split is on disk with a caption.
    """
    present = [name for name in names if name in paths]
    files = tuple(
        CaptionedFile(name, paths[name], table.captions[name])
        for name in present
        if name in table.captions
    )
    if not files:
        example = f", as '{names[0]}'" if names else ''
        raise ValueError(
            f'Of the {len(names)} files of the split{example}, {len(present)} are on disk, and '
            f'none of these has a caption; the layout is {layout}.'
        )
    return Captions(
        files=files,
        missing=tuple(name for name in names if name not in paths),
        uncaptioned=tuple(name for name in present if name not in table.captions),
        dropped=table.dropped,
    )
