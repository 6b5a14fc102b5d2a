"""Files of sentences with their embeddings, so that who reads them needs no encoder."""

from __future__ import annotations

from io import BytesIO
import json
import os
from pathlib import Path
from reprlib import repr as short_repr
from tokenize import TokenError

from mtl_perception.atomic_file import write_atomically
from mtl_perception.sentences.encoder import unit_rows
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.text_file import MAX_LENGTH, read_text, split_lines
from mtl_perception.sentences.user_files import read_regular_file, user_path
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load

SUFFIXES = ('.safetensors', '.npy')
_TENSOR = 'embeddings'
_SENTENCES, _ENCODER = 'sentences', 'encoder'
# Readers of safetensors refuse a header of more than 100 MB.
_MAX_HEADER = 90_000_000
_MAX_TEXT_MEGABYTES = 1000
_MAX_MEGABYTES = 20_000
# What comes of a damaged header, which is parsed as Python.
_DAMAGED = (MemoryError, OverflowError, RecursionError, TokenError, TypeError, ValueError)


def write_sentence_file(path: str | os.PathLike[str], listed: SentenceList) -> None:
    """
    Write sentences and their embeddings as one ``.safetensors`` file, whole at every moment.

    The tensor ``embeddings`` is float32, ``[n, E]``; the metadata has the sentences as a JSON list
    and the identity of the encoder.

    :raises ValueError: If the sentences are too many for such a file.
    :raises OSError: If it can't be written.
    """
    text = json.dumps(listed.sentences, ensure_ascii=False)
    # Each " and \\ is written once more with a \\ before it.
    if len(json.dumps(text, ensure_ascii=False).encode()) > _MAX_HEADER:
        raise ValueError(
            f'sentences must have {_MAX_HEADER} bytes at most for a .safetensors file; write '
            'a .npy file and a .txt file instead.'
        )
    metadata = {_SENTENCES: text, _ENCODER: listed.identity}
    embeddings = np.ascontiguousarray(listed.embeddings, np.float32)
    write_atomically(Path(path), save({_TENSOR: embeddings}, metadata))


def read_sentence_file(
    path: str | os.PathLike[str], max_megabytes: float = _MAX_MEGABYTES
) -> SentenceList:
    """
    Read sentences and their embeddings; of a sentence that is there more than once, the first.

    :param path: A ``.safetensors`` file as :func:`write_sentence_file` writes it; or a ``.npy``
        file, ``[n, E]``, with a ``.txt`` file beside it whose line i is the sentence of row i.
    :param max_megabytes: A larger file is refused; all of it is read into the memory.
    :return: The embeddings as unit rows.
    :raises ValueError: Naming the file and the reason.
    """
    path = user_path(path)
    try:
        if path.suffix == '.safetensors':
            sentences, embeddings, identity = _read_safetensors(path, max_megabytes)
        elif path.suffix == '.npy':
            sentences, embeddings, identity = *_read_npy(path, max_megabytes), ''
        else:
            raise ValueError(f'must end in one of {SUFFIXES}.')
        _check(sentences, embeddings)
        spaced = [' '.join(sentence.split()) for sentence in sentences]
        rows: dict[str, int] = {}
        for row, sentence in enumerate(spaced):
            rows.setdefault(sentence, row)
        return SentenceList(tuple(rows), unit_rows(embeddings[[*rows.values()]]), identity)
    except ValueError as error:
        raise ValueError(f"Sentence file '{path}': {error}") from error


def _read_safetensors(path: Path, max_megabytes: float) -> tuple[list[str], np.ndarray, str]:
    content = read_regular_file(path, max_megabytes)
    try:
        tensors = load(content)
    # A type of numbers that torch does not have is not found.
    except (KeyError, SafetensorError) as error:
        raise ValueError(f'cannot be read ({error}).') from error
    # The library gives the metadata of files alone; what it has loaded has a sound header.
    end = 8 + int.from_bytes(content[:8], 'little')
    metadata = json.loads(content[8:end]).get('__metadata__') or {}
    if _SENTENCES not in metadata or _TENSOR not in tensors:
        raise ValueError(f"must have '{_SENTENCES}' in its metadata and a tensor '{_TENSOR}'.")
    embeddings = tensors[_TENSOR]
    try:
        sentences = json.loads(metadata[_SENTENCES])
    except (ValueError, RecursionError) as error:
        raise ValueError(f'its sentences are not JSON ({error}).') from error
    if not isinstance(sentences, list):
        raise ValueError(f'its sentences must be a list, got {type(sentences).__name__}.')
    if not embeddings.is_floating_point():
        raise ValueError(f'embeddings must be real numbers, got {embeddings.dtype}.')
    return sentences, embeddings.float().numpy(), metadata.get(_ENCODER, '')


def _read_npy(path: Path, max_megabytes: float) -> tuple[list[str], np.ndarray]:
    content = BytesIO(read_regular_file(path, max_megabytes))
    try:
        # Not np.load(), which also opens archives and what has been pickled.
        embeddings = np.lib.format.read_array(content, allow_pickle=False)
    except _DAMAGED as error:
        raise ValueError(f'cannot be read as numbers ({error}).') from error
    if embeddings.dtype.kind not in 'fiu':
        raise ValueError('must be one array of real numbers.')
    beside = path.with_suffix('.txt')
    try:
        return split_lines(read_text(beside, _MAX_TEXT_MEGABYTES)), embeddings
    except ValueError as error:
        raise ValueError(f"'{beside.name}' beside it {error}") from error


def _check(sentences: list[str], embeddings: np.ndarray) -> None:
    if not sentences:
        raise ValueError('holds no sentence.')
    if embeddings.ndim != 2 or not embeddings.shape[1]:
        raise ValueError(f'embeddings must be [n, E], got {embeddings.shape}.')
    if len(embeddings) != len(sentences):
        raise ValueError(
            f'must have a row for each sentence, got {len(embeddings)} rows for '
            f'{len(sentences)} sentences.'
        )
    for number, sentence in enumerate(sentences, 1):
        if not isinstance(sentence, str) or not sentence.strip():
            raise ValueError(f'sentence {number} must not be blank, got {short_repr(sentence)}.')
        _check_text(number, sentence)


def _check_text(number: int, sentence: str) -> None:
    """Refuse what no text file can hold, as whoever hears a caption could not either."""
    length = len(' '.join(sentence.split()))
    if length > MAX_LENGTH:
        raise ValueError(
            f'sentence {number} must have {MAX_LENGTH} characters at most, got {length}.'
        )
    if '\0' in sentence:
        raise ValueError(f'sentence {number} must not have NUL, got {short_repr(sentence)}.')
    try:
        sentence.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f'sentence {number} must be text that UTF-8 can hold, got {short_repr(sentence)}.'
        ) from error
