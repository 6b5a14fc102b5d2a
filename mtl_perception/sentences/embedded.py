"""Sentences that were embedded elsewhere, such as by the order embedding of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
import hashlib

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences.encoder import check_sentences, EncoderError, OnProgress
from mtl_perception.sentences.sentence_file import read_sentence_file
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.user_files import user_path
import numpy as np


class FileEncoder:
    """
    Look sentences up in a file, which is read when the first is asked for.

    The vectors of a recurrent order embedding (Vendrov et al., ICLR 2016), 1024 numbers each, are
    what Kim et al., Disjoint Multi-task Learning (2018), learn.

    :param config: Its ``model`` is a file that :func:`read_sentence_file` reads.
    :param dim: Size of the space, which the file must have.
    """

    def __init__(self, config: EncoderConfig, dim: int) -> None:
        self.config, self.dim = config, dim

    @cached_property
    def identity(self) -> str:
        """
        Return the hash of the embeddings.

        :raises EncoderError: If the file is not there.
        """
        digest = hashlib.sha256(self._listed.embeddings.tobytes())
        digest.update('\n'.join(self._listed.sentences).encode(errors='surrogatepass'))
        return f'files {digest.hexdigest()}'

    def encode(
        self, sentences: Sequence[str], on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """
        Return the embedding of each sentence: float32 unit rows, ``[n, E]``.

        :raises EncoderError: If the file is not there.
        :raises ValueError: If a sentence is not in it, or it has another size than ``dim``.
        """
        check_sentences(sentences)
        if self._listed.dim != self.dim:
            raise ValueError(
                f"dim must be {self._listed.dim}, the size of the file '{self.config.model}', got "
                f'{self.dim}.'
            )
        rows = [self._rows.get(' '.join(sentence.split())) for sentence in sentences]
        if None in rows:
            raise ValueError(
                f"{rows.count(None)} of {len(rows)} sentences are not in '{self.config.model}', "
                f'the first of them is {sentences[rows.index(None)]!r}.'
            )
        if on_progress:
            on_progress(len(rows), len(rows))
        return self._listed.embeddings[np.array(rows, np.intp)]

    @cached_property
    def _listed(self) -> SentenceList:
        path = user_path(self.config.model)
        if not path.exists():
            raise EncoderError(
                f"encoder.model '{path.absolute()}' is not there: copy the file of embeddings to "
                'this machine, or name where it lies.'
            )
        return read_sentence_file(path)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {sentence: row for row, sentence in enumerate(self._listed.sentences)}
