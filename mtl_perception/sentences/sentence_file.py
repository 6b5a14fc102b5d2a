"""Files of sentences with their embeddings, so that who reads them needs no encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mtl_perception.atomic_file import write_atomically
from mtl_perception.sentences.encoder import unit_rows
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.text_file import read_text, split_lines
import numpy as np
from safetensors import safe_open, SafetensorError
from safetensors.numpy import save

SUFFIXES = ('.safetensors', '.npy')
_TENSOR = 'embeddings'
_SENTENCES, _ENCODER = 'sentences', 'encoder'
# Readers of safetensors refuse a header of more than 100 MB.
_MAX_HEADER = 90_000_000
_MAX_TEXT_MEGABYTES = 1000


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


def read_sentence_file(path: str | os.PathLike[str]) -> SentenceList:
    """
    Read sentences and their embeddings; of a sentence that is there more than once, the first.

    :param path: A ``.safetensors`` file as :func:`write_sentence_file` writes it; or a ``.npy``
        file, ``[n, E]``, with a ``.txt`` file beside it whose line i is the sentence of row i.
    :return: The embeddings as unit rows.
    :raises ValueError: Naming the file and the reason.
    """
    path = Path(path).expanduser()
    try:
        if path.suffix == '.safetensors':
            sentences, embeddings, identity = _read_safetensors(path)
        elif path.suffix == '.npy':
            sentences, embeddings, identity = *_read_npy(path), ''
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


def _read_safetensors(path: Path) -> tuple[list[str], np.ndarray, str]:
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            if _SENTENCES not in metadata or _TENSOR not in file.keys():  # noqa: SIM118
                raise ValueError(
                    f"must have '{_SENTENCES}' in its metadata and a tensor '{_TENSOR}'."
                )
            embeddings = file.get_tensor(_TENSOR)
    except (SafetensorError, OSError) as error:
        raise ValueError(f'cannot be read ({error}).') from error
    try:
        sentences = json.loads(metadata[_SENTENCES])
    except (ValueError, RecursionError) as error:
        raise ValueError(f'its sentences are not JSON ({error}).') from error
    if not isinstance(sentences, list):
        raise ValueError(f'its sentences must be a list, got {type(sentences).__name__}.')
    if not embeddings.is_floating_point():
        raise ValueError(f'embeddings must be real numbers, got {embeddings.dtype}.')
    return sentences, embeddings.float().numpy(), metadata.get(_ENCODER, '')


def _read_npy(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        # Mapped, so that a damaged header can't ask for more memory than the file has.
        embeddings = np.load(path, mmap_mode='r', allow_pickle=False)
    except (EOFError, MemoryError, OSError, OverflowError, ValueError) as error:
        raise ValueError(f'cannot be read as numbers ({error}).') from error
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype.kind not in 'fiu':
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
            raise ValueError(f'sentence {number} must not be blank, got {sentence!r}.')
