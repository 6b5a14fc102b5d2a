"""Rendered clips with the sentence that says who does what in them."""

from __future__ import annotations

from pathlib import Path

from mtl_training.data.captioned import CaptionedClips, Embed
from mtl_training.data.synthetic.cache import load_or_render
from mtl_training.data.synthetic.clips import SyntheticClips
import numpy as np
from numpy.typing import NDArray

# Of the sentences that are kept; to be increased when they change.
_VERSION = 1
_MAX_BYTES = 256
# What sentences may say of a scene.
ABOUT = ('everything', 'motion')


def synthetic_captions(
    task: str,
    split: str,
    embed: Embed,
    *,
    num_clips: int = 1000,
    scenes: str = 'action',
    about: str = 'everything',
    seed: int = 1,
    num_frames: int = 16,
    clip_seconds: float = 2.0,
    size: tuple[int, int] = (64, 86),
    cache_dir: str | None = None,
    workers: int = 0,
    augment: bool = False,
) -> CaptionedClips:
    """
    Rendered here, one sentence each: who does what where, in what clothes.

    :param embed: Places sentences in the space that the task learns.
    :param scenes: What they show: action, gesture or nothing.
    :param about: What sentences say: everything, or motion, which is what somebody does and not
        who or where.
    :param seed: 1 unless it is set, so that the scenes are others than those of a task of classes,
        whose seed is 0.
    :raises ValueError: If a setting is none of these.
    """
    if about not in ABOUT:
        raise ValueError(f"about must be one of {', '.join(ABOUT)}, got '{about}'.")
    clips, plain = (
        SyntheticClips(
            scenes,
            split,
            num_clips,
            seed=seed,
            num_frames=num_frames,
            clip_seconds=clip_seconds,
            size=size,
            cache_dir=folder,
            workers=workers,
            augment=augment,
        )
        for folder in (cache_dir, None)
    )
    texts = captions_of(plain, cache_dir, about)
    return CaptionedClips(task, clips, [(text,) for text in texts], embed)


def captions_of(
    clips: SyntheticClips, cache_dir: str | Path | None = None, about: str = 'everything'
) -> list[str]:
    """
    Return the sentence of every scene, which takes milliseconds each unless they are kept.

    :param clips: Without rendered frames.
    :param cache_dir: Where sentences are kept; ``None``: nowhere.
    :param about: One of :data:`ABOUT`.
    """
    texts = _Texts(clips, about)
    if cache_dir is None:
        rows = np.stack([texts.render(index) for index in range(len(clips))])
    else:
        kind = 'captions' if about == 'everything' else about
        rows = load_or_render(Path(cache_dir), f'{clips.name()}-{kind}{_VERSION}', texts, 0)
    return [row.tobytes().rstrip(b'\0').decode() for row in rows]


class _Texts:
    """The sentences as bytes, uint8 ``[N, 256]``, so that they are kept as frames are."""

    def __init__(self, clips: SyntheticClips, about: str) -> None:
        self._clips = clips
        self._about = about
        self.shape = (len(clips), _MAX_BYTES)

    def render(self, index: int) -> NDArray[np.uint8]:
        scene = self._clips.scene(index)
        text = (scene.caption if self._about == 'everything' else scene.motion_caption).encode()
        assert len(text) <= _MAX_BYTES
        return np.frombuffer(text.ljust(_MAX_BYTES, b'\0'), np.uint8)
