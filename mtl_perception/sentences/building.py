"""The encoder that a config names."""

from __future__ import annotations

from mtl_perception.network.captions import EncoderConfig
from mtl_perception.sentences.embedded import FileEncoder
from mtl_perception.sentences.encoder import SentenceEncoder
from mtl_perception.sentences.hashed import HashedEncoder
from mtl_perception.sentences.transformer import TransformerEncoder


def build_encoder(config: EncoderConfig, dim: int, *, device: str = 'cpu') -> SentenceEncoder:
    """
    Build an encoder; what it needs is looked for when the first sentence is embedded.

    :param config: Which one.
    :param dim: Size of the space, which must be that of the encoder.
    :param device: Where a model runs.
    :raises ValueError: If ``dim`` is not positive or there is no such device.
    """
    if dim < 1:
        raise ValueError(f'dim must be positive, got {dim}.')
    if config.name == 'hashed':
        return HashedEncoder(config, dim)
    if config.name == 'files':
        return FileEncoder(config, dim)
    return TransformerEncoder(config, dim, device=device)
