"""A list of sentences and where they lie: what captions are chosen from."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_perception.sentences.nearest import nearest_rows
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class SentenceList:
    """
    Sentences and their embeddings.

    :param sentences: At least one.
    :param embeddings: Their unit vectors, float32, ``[n, E]``.
    :param identity: Of the encoder that embedded them, empty if nobody knows.
    """

    sentences: tuple[str, ...]
    embeddings: np.ndarray
    identity: str = ''

    def __post_init__(self) -> None:
        if not self.sentences:
            raise ValueError('sentences must have one at least, got none.')
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.sentences):
            raise ValueError(
                f'embeddings must be [{len(self.sentences)}, E], got {self.embeddings.shape}.'
            )
        # torch takes them as they are only if they may be written.
        embeddings = np.require(self.embeddings, np.float32, ['C', 'W'])
        object.__setattr__(self, 'embeddings', embeddings)

    @property
    def dim(self) -> int:
        """Return the size E of the space."""
        return self.embeddings.shape[1]

    def nearest(self, embedding: np.ndarray, k: int) -> list[tuple[str, float]]:
        """
        Return the nearest sentences and their cosines, best first, ties in the order of the list.

        :param embedding: A unit vector, ``[E]``.
        :param k: How many; all of them if the list has fewer.
        :raises ValueError: If the size is not that of the list, or ``k`` is not positive.
        """
        if embedding.shape != (self.dim,):
            raise ValueError(f'embedding must be [{self.dim}], got {embedding.shape}.')
        query = torch.from_numpy(np.array(embedding, np.float32)[None])
        cosines, rows = nearest_rows(query, torch.from_numpy(self.embeddings), k)
        return [
            (self.sentences[row], cosine)
            for row, cosine in zip(rows[0].tolist(), cosines[0].tolist())
        ]

    def tensor(self, device: torch.device | str = 'cpu') -> Tensor:
        """Return the embeddings, ``[n, E]``, for :func:`nearest_rows` on batches."""
        return torch.tensor(self.embeddings, device=device)
