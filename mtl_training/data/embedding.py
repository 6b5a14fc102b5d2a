"""The sentences of a data set in the space of its task, each embedded once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys

from mtl_perception.network.captions import CaptionConfig
from mtl_perception.sentences import build_encoder, encode_cached
from mtl_training.data.captioned import Embed
from mtl_training.data.videos.probing import user_cache
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress


def embedder(config: CaptionConfig, cache_dir: str | None) -> Embed:
    """
    Return what places sentences in the space of a task.

    :param config: Settings of the task.
    :param cache_dir: What is embedded is kept in its folder ``sentences``; ``None``: in that of
        the user's cache.
    """
    encoder = build_encoder(config.encoder, config.dim)

    def embed(sentences: Sequence[str]) -> NDArray[np.float32]:
        folder = user_cache() if cache_dir is None else Path(cache_dir).expanduser()
        with Progress(console=Console(file=sys.stderr), transient=True) as bar:
            line = bar.add_task('Embedding sentences')
            return encode_cached(
                encoder,
                sentences,
                folder / 'sentences',
                lambda done, total: bar.update(line, completed=done, total=total),
            )

    return embed
