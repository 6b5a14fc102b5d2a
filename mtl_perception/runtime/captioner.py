"""What tells a clip in words: its place among sentences, smoothed, and the nearest of them."""

from __future__ import annotations

from collections.abc import Callable

from mtl_perception.runtime.clip_buffer import Clip
from mtl_perception.runtime.results import Caption, RecognitionSettings
from mtl_perception.runtime.smoothing import Smoother
from mtl_perception.sentences.sentence_list import SentenceList
import numpy as np

# The network makes unit vectors in float32: what is off by more is no rounding.
_UNIT_ERROR = 1e-2


class Captioner:
    """
    A task of captions.

    :param task: Its name.
    :param sentences: Returns the list to choose from as it is now, or None; it must not wait.
    """

    def __init__(self, task: str, sentences: Callable[[], SentenceList | None]) -> None:
        self._task, self._sentences = task, sentences
        self._smoother = Smoother()

    def describe(
        self, embedding: np.ndarray, clip: Clip, settings: RecognitionSettings
    ) -> Caption | None:
        """
        Return the sentences that are nearest to a clip; None if there are none to choose from.

        :param embedding: What the network says of the clip, a unit vector ``[E]``.
        :raises ValueError: If it is none, as where numbers are not finite; what was smoothed
            before is kept.
        """
        smoothed = self._smoothed(embedding, clip, settings.smoothing_sec)
        listed = self._sentences()
        if listed is None:
            return None
        candidates = [
            (sentence, float(np.clip(cosine, -1, 1)))
            for sentence, cosine in listed.nearest(smoothed, settings.top_k)
        ]
        sentence, score = candidates[0]
        return Caption(
            task=self._task,
            sentence=sentence if score >= settings.min_caption_score else '',
            score=score,
            candidates=candidates,
            stamp_ns=int(clip.stamps_ns[-1]),
            clip_start_ns=int(clip.stamps_ns[0]),
            frame_id=clip.source[0],
            received_sec=clip.received_sec,
            num_distinct=clip.num_distinct,
        )

    def _smoothed(self, embedding: np.ndarray, clip: Clip, smoothing_sec: float) -> np.ndarray:
        """Return the direction of the weighted mean of the newest unit vectors, ``[E]``."""
        length = float(np.linalg.norm(embedding))
        # Written so that NaN is refused too.
        if not abs(length - 1) <= _UNIT_ERROR:
            raise ValueError(
                f"the embedding of task '{self._task}' must be a unit vector, finite and not "
                f'zero, got the length {length}.'
            )
        mean = self._smoother.update(
            embedding,
            int(clip.stamps_ns[-1]),
            time_constant_sec=smoothing_sec,
            generation=clip.generation,
        )
        length = float(np.linalg.norm(mean))
        # Opposite directions may cancel each other: then only the newest says anything.
        return mean / length if length > np.finfo(np.float32).eps else embedding
