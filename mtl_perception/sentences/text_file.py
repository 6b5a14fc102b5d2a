"""Sentences as people write them: a text file, one a line."""

from __future__ import annotations

from pathlib import Path

from mtl_perception.sentences.user_files import read_regular_file

MAX_SENTENCES = 100_000
MAX_LENGTH = 1000  # characters of a sentence
_MAX_MEGABYTES = 100


def parse_sentences(text: str) -> tuple[str, ...]:
    """
    Return the sentences of a text in their order, each once.

    Blank lines and lines that begin with ``#`` are left out; spaces around and between words
    count once.

    :raises ValueError: If there is none, there are too many, or one is too long.
    """
    found: dict[str, None] = {}
    lines = split_lines(text)
    for number, line in enumerate(lines, 1):
        sentence = ' '.join(line.split())
        if not sentence or sentence.startswith('#'):
            continue
        if len(sentence) > MAX_LENGTH:
            raise ValueError(
                f'line {number} must have {MAX_LENGTH} characters at most, got {len(sentence)}.'
            )
        found[sentence] = None
        if len(found) > MAX_SENTENCES:
            raise ValueError(f'there must be {MAX_SENTENCES} sentences at most, there are more.')
    if not found:
        reason = f'all of its {len(lines)} lines are blank or comments' if text else 'it is empty'
        raise ValueError(f'holds no sentence: {reason}. Write one a line.')
    return tuple(found)


def split_lines(text: str) -> list[str]:
    """Return the lines of a text of any system; the end of the last one may be missing."""
    # Not splitlines(): rarer characters that it takes for ends of lines may lie in a sentence.
    lines = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')
    return lines[:-1] if not lines[-1] else lines


def read_text(path: Path, max_megabytes: float = _MAX_MEGABYTES) -> str:
    """
    Return what is in a text file.

    :raises ValueError: If it can't be read, is too large, or is no text in UTF-8.
    """
    content = read_regular_file(path, max_megabytes)
    if b'\0' in content:
        raise ValueError('is a binary file: write sentences as text in UTF-8, one a line.')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content.count(b'\n', 0, error.start) + 1
        raise ValueError(f'is no text in UTF-8, see line {line}: save it as UTF-8.') from error
