"""Embeddings kept on disk, so that each sentence is embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
import logging
import os
from pathlib import Path
import sqlite3
from typing import TypeVar

from mtl_perception.sentences.embedded import FileEncoder
from mtl_perception.sentences.encoder import check_sentences, OnProgress, SentenceEncoder
from mtl_perception.sentences.user_files import user_path
import numpy as np

T = TypeVar('T')
_LOGGER = logging.getLogger(__name__)
_WAIT_SEC = 60.0
# Kept together: what is lost when a process is killed.
_GROUP = 2048
_UNIT_ERROR = 1e-3


def encode_cached(
    encoder: SentenceEncoder,
    sentences: Sequence[str],
    cache_dir: str | os.PathLike[str] | None,
    on_progress: OnProgress | None = None,
) -> np.ndarray:
    """
    Return the embedding of each sentence; each distinct one is embedded once and kept.

    Any number of processes may share the folder. A cache that is damaged, or that can't be
    written, costs one warning and the time to embed its sentences again.

    :param cache_dir: Folder of the cache, with one file for each encoder; ``None`` keeps nothing.
    :return: float32 unit rows, ``[n, E]``.
    :raises EncoderError: If what the encoder needs is not on this machine.
    :raises ValueError: If a sentence has no embedding.
    """
    check_sentences(sentences)
    distinct = list(dict.fromkeys(sentences))
    # What is read from a file need not be kept in another one.
    cache = None
    if cache_dir is not None and distinct and not isinstance(encoder, FileEncoder):
        cache = _Cache(user_path(cache_dir), encoder)
    known = cache.read(distinct) if cache else {}
    # The groups, too, have sentences of like length.
    missing = sorted((s for s in distinct if s not in known), key=len)
    for start in range(0, len(missing), _GROUP):
        group = missing[start : start + _GROUP]
        report = _shifted(on_progress, start, len(missing))
        rows = encoder.encode(group, on_progress=report)
        if cache:
            cache.write(group, rows)
        known |= dict(zip(group, rows))
    embeddings = np.empty((len(sentences), encoder.dim), np.float32)
    for row, sentence in zip(embeddings, sentences):
        row[:] = known[sentence]
    return embeddings


class _Cache:
    """Embeddings by sentence, of one encoder, in one database."""

    def __init__(self, folder: Path, encoder: SentenceEncoder) -> None:
        name = blake2b(f'{encoder.identity} {encoder.dim}'.encode(), digest_size=12).hexdigest()
        self._path = folder / f'sentences-{name}.sqlite'
        self._dim = encoder.dim
        self._is_usable = True

    def read(self, sentences: Iterable[str]) -> dict[str, np.ndarray]:
        """Return what is known of some sentences."""

        def select(database: sqlite3.Connection) -> dict[str, np.ndarray]:
            query = 'SELECT vector FROM embeddings WHERE sentence = ?'
            rows = ((s, database.execute(query, (s,)).fetchone()) for s in sentences)
            return {s: self._vector(row[0]) for s, row in rows if row}

        return self._run(select) or {}

    def write(self, sentences: Sequence[str], embeddings: np.ndarray) -> None:
        """Keep embeddings; all of them or, if this process is killed, none."""
        rows = [(s, row.astype('<f4').tobytes()) for s, row in zip(sentences, embeddings)]

        def replace(database: sqlite3.Connection) -> None:
            with database:
                database.executemany('REPLACE INTO embeddings VALUES (?, ?)', rows)

        self._run(replace)

    def _vector(self, stored: object) -> np.ndarray:
        if not isinstance(stored, bytes) or len(stored) != 4 * self._dim:
            raise sqlite3.DatabaseError('an embedding has another size')
        vector = np.frombuffer(stored, '<f4').astype(np.float32)
        if not abs(float(np.square(vector, dtype=np.float64).sum()) - 1) < _UNIT_ERROR:
            raise sqlite3.DatabaseError('an embedding is no unit vector')
        return vector

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        if not self._is_usable:
            return None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._once(action)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                _LOGGER.warning("'%s' is damaged (%s) and begun anew.", self._path, error)
                for suffix in ('', '-journal'):
                    Path(f'{self._path}{suffix}').unlink(missing_ok=True)
                return self._once(action)
        except (OSError, sqlite3.Error) as error:
            self._is_usable = False
            _LOGGER.warning("'%s' can't be used, sentences are not kept: %s.", self._path, error)
            return None

    def _once(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SEC)) as database:
            database.execute(
                'CREATE TABLE IF NOT EXISTS embeddings (sentence TEXT PRIMARY KEY, vector BLOB)'
            )
            return action(database)


def _shifted(report: OnProgress | None, start: int, total: int) -> OnProgress | None:
    return report and (lambda done, _: report(start + done, total))
