"""What is wrong with a list of sentences, without the time that embedding it takes."""

from __future__ import annotations

from importlib.util import find_spec
import os

from mtl_perception.sentences.encoder import EncoderError, SentenceEncoder
from mtl_perception.sentences.model_folder import find_model, INSTALL
from mtl_perception.sentences.reading import read_sentence_list
from mtl_perception.sentences.sentence_file import SUFFIXES
from mtl_perception.sentences.text_file import parse_sentences, read_text
from mtl_perception.sentences.user_files import user_path


def check_sentence_list(path: str | os.PathLike[str], encoder: SentenceEncoder) -> None:
    """
    Refuse what :func:`read_sentence_list` would refuse, but for what only a loaded model tells.

    :param path: As for :func:`read_sentence_list`.
    :param encoder: What is to embed the sentences of a text.
    :raises EncoderError: If the encoder is needed and is not on this machine.
    :raises ValueError: Naming the file, and the reason why there is no list in it.
    """
    path = user_path(path)
    if path.suffix in SUFFIXES or encoder.config.name == 'files':
        # Nothing is embedded, so that reading it takes no longer than checking it.
        read_sentence_list(path, encoder)
        return
    try:
        parse_sentences(read_text(path))
    except ValueError as error:
        raise ValueError(f"Sentence list '{path}' {error}") from error
    if encoder.config.name == 'sentence_transformers':
        find_model(encoder.config.model)
        if find_spec('sentence_transformers') is None:
            raise EncoderError(
                'sentences are embedded by sentence-transformers, which is not installed: '
                f'{INSTALL}.'
            )
