"""The list of sentences that somebody gives: as text, or embedded before."""

from __future__ import annotations

import os

from mtl_perception.sentences.caching import encode_cached
from mtl_perception.sentences.encoder import EncoderError, OnProgress, SentenceEncoder
from mtl_perception.sentences.sentence_file import read_sentence_file, SUFFIXES
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.text_file import MAX_SENTENCES, parse_sentences, read_text
from mtl_perception.sentences.user_files import user_path

# More than as many sentences as a list may have take, with 2048 numbers in double precision each.
_MAX_MEGABYTES = 2000


def read_sentence_list(
    path: str | os.PathLike[str],
    encoder: SentenceEncoder,
    cache_dir: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> SentenceList:
    """
    Read a list of sentences.

    :param path: A text file with one sentence a line, blank lines and ``#`` comments aside; or a
        file of sentences with their embeddings (:func:`read_sentence_file`), for which nothing
        of the encoder needs to be on this machine.
    :param encoder: What embeds the sentences of a text.
    :param cache_dir: Folder where embeddings are kept; ``None`` keeps none.
    :raises EncoderError: If the encoder is needed and is not on this machine.
    :raises ValueError: Naming the file, and the reason why there is no list in it.
    """
    path = user_path(path)
    if path.suffix in SUFFIXES:
        listed = read_sentence_file(path, _MAX_MEGABYTES)
        try:
            _check_embedded(listed, encoder)
        except ValueError as error:
            raise ValueError(f"Sentence list '{path}' {error}") from error
        return listed
    try:
        sentences = parse_sentences(read_text(path))
        embeddings = encode_cached(encoder, sentences, cache_dir, on_progress)
    except EncoderError:
        raise
    except ValueError as error:
        raise ValueError(f"Sentence list '{path}' {error}") from error
    return SentenceList(sentences, embeddings, encoder.identity)


def _check_embedded(listed: SentenceList, encoder: SentenceEncoder) -> None:
    """Refuse embeddings that lie in another space than that of the encoder."""
    advice = 'embed it again: python -m mtl_training embed-sentences.'
    if len(listed.sentences) > MAX_SENTENCES:
        raise ValueError(
            f'must have {MAX_SENTENCES} sentences at most, got {len(listed.sentences)}.'
        )
    if listed.dim != encoder.dim:
        raise ValueError(
            f'has embeddings of {listed.dim} numbers, the captions have {encoder.dim}; {advice}'
        )
    kind = listed.identity.strip().partition(' ')[0]
    if not kind:
        return
    if kind != encoder.config.name:
        raise ValueError(
            f"was embedded by the encoder '{kind}', the captions need '{encoder.config.name}'; "
            f'{advice}'
        )
    try:
        wanted = encoder.identity
    except EncoderError:
        # A robot that has no encoder: what embedded the list can't be compared with anything.
        return
    if listed.identity != wanted:
        raise ValueError(f'was embedded by another {kind} encoder than the captions; {advice}')
