"""Captions: from the features of a clip to a place in the space of sentences."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn, Tensor
from torch.nn.functional import normalize

ENCODERS = ('hashed', 'sentence_transformers', 'files')
MAX_DIM = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """
    What places sentences in the space that clips are embedded in; it is never trained here.

    :param name: sentence_transformers: a model of that library; files: sentences that have been
        embedded elsewhere; hashed: a random projection of the words, which needs no model and
        knows no meaning.
    :param model: Of sentence_transformers: its folder or name, the packaged all-MiniLM-L6-v2 if
        empty. Of files: the file of sentences and embeddings.
    :param seed: Of the random projection.
    """

    name: str = 'sentence_transformers'
    model: str = ''
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in ENCODERS:
            raise ValueError(f'name must be one of {ENCODERS}, got {self.name!r}.')
        if self.name == 'files' and not self.model:
            raise ValueError("model must name the file of embeddings for 'files', got ''.")
        if self.seed < 0:
            raise ValueError(f'seed must be at least 0, got {self.seed}.')


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionConfig:
    """
    Settings of a task of captions.

    :param dim: Size of the sentence space, that of the encoder.
    :param encoder: What places sentences in it.
    """

    dim: int = 384
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise ValueError(f'dim must be from 1 to {MAX_DIM}, got {self.dim}.')


class EmbeddingHead(nn.Linear):
    """
    A linear layer from features, ``[B, D]``, to unit vectors of the sentence space, ``[B, E]``.

    Kim et al., Disjoint Multi-task Learning between Heterogeneous Human-centric Tasks (2018),
    section 3: the sentence branch.
    """

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__(feature_dim, dim)
        nn.init.normal_(self.weight, 0, 0.01)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the unit vectors, float32 whatever the precision of the features."""
        # In low precision the length of a unit vector would be off by up to a percent.
        return normalize(super().forward(features).float(), dim=-1)
