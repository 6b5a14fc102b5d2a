"""What every encoder of sentences does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mtl_perception.network.captions import EncoderConfig
import numpy as np

# Takes how many sentences are embedded, and of how many.
OnProgress = Callable[[int, int], object]
_ROWS_AT_ONCE = 4096


class EncoderError(ValueError):
    """An encoder that can't be had on this machine; the message says what to do."""


class SentenceEncoder(Protocol):
    """Places sentences in a space of unit vectors; it is never trained."""

    @property
    def config(self) -> EncoderConfig:
        """Return what it was built from."""

    @property
    def dim(self) -> int:
        """Return the size E of its space."""

    @property
    def identity(self) -> str:
        """
        Return what tells its embeddings from those of other encoders, on any machine.

        :raises EncoderError: If what it needs is not on this one.
        """

    def encode(
        self, sentences: Sequence[str], on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """
        Return the embedding of each sentence: float32 unit rows, ``[n, E]``.

        :raises EncoderError: If what it needs is not on this machine.
        :raises ValueError: If a sentence has no embedding, or ``dim`` is not its size.
        """


def check_sentences(sentences: Sequence[str]) -> None:
    """
    Check that each is a text with something in it.

    :raises ValueError: Naming the first that is not.
    """
    for position, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise ValueError(f'sentences[{position}] must be a text, got {sentence!r}.')
        if not sentence.strip():
            raise ValueError(f'sentences[{position}] must not be blank, got {sentence!r}.')
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f'sentences[{position}] must be text that UTF-8 can hold, got {sentence!r}.'
            ) from error


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """
    Return rows scaled to length 1, float32.

    :param rows: ``[n, E]``, of any type of real numbers.
    :raises ValueError: If a row is zero, or has numbers that are not finite.
    """
    result = np.empty(rows.shape, np.float32)
    # In pieces: the embeddings of a large data set in double precision are gigabytes.
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        piece = np.asarray(rows[start : start + _ROWS_AT_ONCE], np.float64)
        with np.errstate(over='ignore', invalid='ignore'):
            lengths = np.sqrt(np.square(piece).sum(axis=1))
        wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(wrong):
            raise ValueError(
                f'embeddings must be finite and not zero, row {start + wrong[0]} is not.'
            )
        result[start : start + _ROWS_AT_ONCE] = piece / lengths[:, None]
    return result
