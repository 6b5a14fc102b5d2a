"""
Sentences and their embeddings, for training and for the robot.

An encoder places sentences in the space that clips are embedded in; it is chosen by the task's
:class:`~mtl_perception.network.captions.EncoderConfig`. ``pip install '.[captions]'`` brings what
the encoder of meaning needs, with its model. A file of embedded sentences needs no encoder at all.
"""

from mtl_perception.sentences.building import build_encoder
from mtl_perception.sentences.caching import encode_cached
from mtl_perception.sentences.checking import check_sentence_list
from mtl_perception.sentences.encoder import EncoderError, SentenceEncoder
from mtl_perception.sentences.nearest import nearest_rows
from mtl_perception.sentences.reading import read_sentence_list
from mtl_perception.sentences.sentence_file import read_sentence_file, write_sentence_file
from mtl_perception.sentences.sentence_list import SentenceList
from mtl_perception.sentences.text_file import parse_sentences

__all__ = [
    'EncoderError',
    'SentenceEncoder',
    'SentenceList',
    'build_encoder',
    'check_sentence_list',
    'encode_cached',
    'nearest_rows',
    'parse_sentences',
    'read_sentence_file',
    'read_sentence_list',
    'write_sentence_file',
]
