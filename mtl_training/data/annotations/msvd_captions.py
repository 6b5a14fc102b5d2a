"""Reading the files of captions, numbers and ids of MSVD."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re
from typing import NamedTuple

from mtl_training.data.annotations.captions import CaptionTable, gather, sentence
from mtl_training.data.annotations.tables import table_rows
from mtl_training.data.video_sets.lists import line_error, numbered_lines

COLUMNS = ('VideoID', 'Start', 'End', 'Source', 'Language', 'Description')
_HEADER_LINES = 7  # of AllVideoDescriptions.txt
_CLIP_ID = 'a clip <VideoID>_<start>_<end>, start and end in whole seconds'
_NUMBER = re.compile(r'vid([0-9]{1,9})')
_SECONDS = re.compile(r'[0-9]{1,9}')


class ClipName(NamedTuple):
    """What the id of a clip says."""

    video: str  # on YouTube; may hold and begin with '-' and '_'
    start_sec: int
    end_sec: int


def read_corpus(
    path: Path, language: str = 'English', sources: tuple[str, ...] | None = None
) -> CaptionTable:
    """
    Read the captions of 'MSR Video Description Corpus.csv', which also has other languages.

    :param sources: Of clean and unverified; all if ``None``.
    :raises ValueError: If a row does not parse, or no caption is of this language and source.
    """
    pairs, languages, dropped = [], set(), 0
    for number, row in table_rows(path, COLUMNS):
        clip, caption = parse_corpus_row(path, number, row)
        languages.add(row['Language'].strip())
        is_source = sources is None or row['Source'].strip() in sources
        if row['Language'].strip() == language and is_source:
            pairs.append((clip, caption))
        else:
            dropped += 1
    table = gather(pairs, dropped)
    if not table.captions:
        raise ValueError(
            f"'{path}' has no caption in {language!r} of source {sources or 'any'}; "
            f'its languages are {sorted(languages)}.'
        )
    return table


def read_descriptions(path: Path) -> CaptionTable:
    """
    Read the captions of AllVideoDescriptions.txt, all of them English.

    :raises ValueError: If a line after the header does not parse.
    """
    pairs: list[tuple[str, str]] = []
    for number, line in numbered_lines(path, f'lines of {_CLIP_ID} and a caption'):
        if line.startswith('#'):
            continue
        try:
            pairs.append(parse_description(path, number, line))
        except ValueError:
            if pairs or number > _HEADER_LINES:
                raise
    return gather(pairs)


def read_sentences(path: Path) -> CaptionTable:
    """
    Read the captions of sents_train_lc_nopunc.txt and its like, by ``vid<number>``.

    :raises ValueError: If a line does not parse.
    """
    lines = numbered_lines(path, 'lines of vid<number>, a tab and a caption')
    return gather(parse_sentence(path, number, line) for number, line in lines)


def read_mapping(path: Path) -> dict[str, str]:
    """
    Read youtube_mapping.txt: ``vid<number>`` by the id of the clip.

    :raises ValueError: If a line does not parse.
    """
    lines = numbered_lines(path, f'lines of {_CLIP_ID} and vid<number>')
    return dict(parse_mapping(path, number, line) for number, line in lines)


def read_ids(path: Path) -> list[str]:
    """
    Read the list of a split: an id of a clip, or ``vid<number>``, a line.

    :raises ValueError: If a line does not parse.
    """
    lines = numbered_lines(path, f'lines of {_CLIP_ID}, or of vid<number>')
    return [parse_id(path, number, line) for number, line in lines]


def parse_clip_name(path: Path, number: int, text: str) -> ClipName:
    """
    Return what the id of a clip says.

    :param path: The file that has it, for messages.
    :param number: Of the line, for messages.
    :raises ValueError: If it is no such id.
    """
    parts = text.rsplit('_', 2)
    if len(parts) != 3 or not parts[0] or len(text.split()) != 1:
        raise line_error(path, number, text, _CLIP_ID)
    if not all(_SECONDS.fullmatch(part) for part in parts[1:]):
        raise line_error(path, number, text, _CLIP_ID)
    return ClipName(parts[0], int(parts[1]), int(parts[2]))


def parse_corpus_row(path: Path, number: int, row: Mapping[str, str]) -> tuple[str, str]:
    """
    Return the id of the clip and the caption, which may be empty, of a row of the CSV.

    :raises ValueError: If the id is none.
    """
    clip = '_'.join(row[column].strip() for column in ('VideoID', 'Start', 'End'))
    parse_clip_name(path, number, clip)
    return clip, sentence(row['Description'])


def parse_description(path: Path, number: int, line: str) -> tuple[str, str]:
    """
    Return the id of the clip and the caption, which may be empty, of a line.

    :raises ValueError: If the line does not begin with an id.
    """
    clip, _, caption = sentence(line).partition(' ')
    parse_clip_name(path, number, clip)
    return clip, caption


def parse_sentence(path: Path, number: int, line: str) -> tuple[str, str]:
    """
    Return ``vid<number>`` and the caption, which may be empty, of a line.

    :raises ValueError: If the line does not begin with ``vid<number>``.
    """
    name, _, caption = sentence(line).partition(' ')
    if not _NUMBER.fullmatch(name):
        raise line_error(path, number, line, 'vid<number>, a tab and a caption')
    return name, caption


def parse_mapping(path: Path, number: int, line: str) -> tuple[str, str]:
    """
    Return the id of a clip and its ``vid<number>``.

    :raises ValueError: If the line is not these two.
    """
    words = line.split()
    if len(words) != 2 or not _NUMBER.fullmatch(words[1]):
        raise line_error(path, number, line, f'{_CLIP_ID} and vid<number>')
    parse_clip_name(path, number, words[0])
    return words[0], words[1]


def parse_id(path: Path, number: int, line: str) -> str:
    """
    Return the id of a clip, or ``vid<number>``, that a line is.

    :raises ValueError: If it is neither.
    """
    name = line.strip()
    if not _NUMBER.fullmatch(name):
        parse_clip_name(path, number, name)
    return name
