"""Sentences by the words in them: needs no model and knows no meaning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
import re
import unicodedata

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences.encoder import check_sentences, OnProgress, unit_rows
import numpy as np

_WORDS = re.compile(r'\w+')
_BITS = 32


class HashedEncoder:
    """
    A bag of lower-cased words, projected at random.

    Each word has a random vector of its own, as a row of a random projection (Johnson and
    Lindenstrauss, 1984) that is as high as there are hashes. Sentences with the same words have
    the same embedding in whatever order; those without a common word are nearly orthogonal.

    The embeddings are those of any other process, machine and version: a word's vector is drawn
    as whole numbers from the bits of a generator whose stream is fixed, and summed exactly.

    :param config: Its ``seed`` chooses the projection.
    :param dim: Size of the space.
    """

    def __init__(self, config: EncoderConfig, dim: int) -> None:
        self.config, self.dim = config, dim
        self._vector = cache(self._draw)

    @property
    def identity(self) -> str:
        """Return what tells its embeddings from those of others."""
        return f'hashed seed={self.config.seed} dim={self.dim}'

    def encode(
        self, sentences: Sequence[str], on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """
        Return the embedding of each sentence: float32 unit rows, ``[n, E]``.

        :raises ValueError: If a sentence has no word.
        """
        check_sentences(sentences)
        sums = np.zeros((len(sentences), self.dim), np.int64)
        for row, sentence in zip(sums, sentences):
            words = _WORDS.findall(unicodedata.normalize('NFC', sentence).lower())
            if not words:
                raise ValueError(f'sentences must have a word each, got {sentence!r}.')
            for word in words:
                row += self._vector(word)
        if on_progress:
            on_progress(len(sentences), len(sentences))
        return unit_rows(sums)

    def _draw(self, word: str) -> np.ndarray:
        """Return the random vector of a word: odd whole numbers, so that none is zero."""
        digest = blake2b(f'{self.config.seed} {word}'.encode(), digest_size=16).digest()
        bits = np.random.PCG64(int.from_bytes(digest, 'little')).random_raw(self.dim)
        return 2 * (bits >> np.uint64(64 - _BITS)).astype(np.int64) + 1 - (1 << _BITS)
