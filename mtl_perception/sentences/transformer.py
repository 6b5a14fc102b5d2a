"""Sentences by their meaning: models of sentence-transformers, from this machine alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences.encoder import (
    check_sentences,
    EncoderError,
    OnProgress,
    unit_rows,
)
from mtl_perception.sentences.model_folder import digest_of, find_model, INSTALL
import numpy as np
from safetensors import SafetensorError
import torch

BATCH = 64
# What the library raises for a model that is not whole, depending on the place.
_LOAD_ERRORS = (
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


class TransformerEncoder:
    """
    A model of sentence-transformers (Reimers and Gurevych, Sentence-BERT, EMNLP 2019).

    It is looked for and loaded when the first sentence is to be embedded. The network is never
    asked, nothing is unpickled, and no code that comes with a model is run. What is longer than
    the model reads, 256 tokens for all-MiniLM-L6-v2, is cut off.

    :param config: Its ``model`` is a folder or a name, empty for the packaged all-MiniLM-L6-v2.
    :param dim: Size of the space, which the model must have.
    :param device: Where it runs.
    """

    def __init__(self, config: EncoderConfig, dim: int, *, device: str = 'cpu') -> None:
        self.config, self.dim = config, dim
        self._device = _checked_device(device)

    @cached_property
    def identity(self) -> str:
        """
        Return the hash of the model's files.

        :raises EncoderError: If the model is not on this machine.
        """
        return f'sentence_transformers {digest_of(self._folder)}'

    def encode(
        self, sentences: Sequence[str], on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """
        Return the embedding of each sentence: float32 unit rows, ``[n, E]``.

        :raises EncoderError: If the library or the model is not on this machine.
        :raises ValueError: If a sentence is blank, or the model has another size than ``dim``.
        """
        check_sentences(sentences)
        embeddings = np.empty((len(sentences), self.dim), np.float32)
        # Sentences of a batch are padded to the longest: neighbours should be as long.
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            embeddings[batch] = self._embed([sentences[i] for i in batch])
            if on_progress:
                on_progress(start + len(batch), len(order))
        return embeddings

    def _embed(self, sentences: list[str]) -> np.ndarray:
        rows = self._model.encode(sentences, batch_size=BATCH, show_progress_bar=False)
        if rows.shape[1] != self.dim:
            raise ValueError(
                f"dim must be {rows.shape[1]}, the size of the encoder '{self._folder}', got "
                f'{self.dim}.'
            )
        return unit_rows(rows)

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.config.model)

    @cached_property
    def _model(self) -> Any:
        folder = self._folder
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EncoderError(
                f'sentences are embedded by sentence-transformers, which does not import '
                f'({error}): {INSTALL}.'
            ) from error
        try:
            with _no_progress_bars():
                model = SentenceTransformer(
                    str(folder),
                    device=str(self._device),
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={'use_safetensors': True},
                )
        except _LOAD_ERRORS as error:
            reason = ' '.join(str(error).split())
            raise EncoderError(
                f"encoder.model '{folder}' does not load, copy it again: {reason}"
            ) from error
        return model.float().eval()


def _checked_device(device: str) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}.") from error
    if found.type == 'cuda' and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'device must be one of this machine, got {device!r}.')
    return found


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep the loading of weights, a fraction of a second, from drawing a bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
