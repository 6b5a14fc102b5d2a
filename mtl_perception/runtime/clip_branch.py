"""What looks at clips: preprocessing, clip buffers and smoothing of all clip tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.captioner import Captioner
from mtl_perception.runtime.clip_buffer import Admission, Clip, ClipBuffer
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.frame_buffer import Frame
from mtl_perception.runtime.results import Caption, Recognition, RecognitionSettings
from mtl_perception.runtime.smoothing import Smoother, top_labels
from mtl_perception.sentences.sentence_list import SentenceList
import numpy as np
from torch import Tensor


class ClipBranch:
    """
    The clip tasks of an engine; without any, all of this does nothing.

    :param max_gap_sec: Frames further apart than this do not belong to one clip.
    :param sentences: Returns what captions are chosen from now, or None.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_gap_sec: float,
        sentences: Callable[[], SentenceList | None],
    ) -> None:
        self._tasks = engine.config.tasks
        self._trunks = engine.config.trunks_of('clip')
        self._preprocessors = {
            name: FramePreprocessor(trunk.preprocessing).to(engine.device)
            for name, trunk in self._trunks.items()
        }
        # Bars have the mean colour: in the order of the picture, until that is turned over.
        self._bgr_preprocessors = {
            name: FramePreprocessor(replace(p.config, mean=p.config.mean[::-1]))
            for name, p in self._preprocessors.items()
        }
        self._buffers = {
            name: ClipBuffer(
                trunk.num_frames,
                trunk.clip_seconds,
                trunk.preprocessing.size,
                max_gap_sec=max_gap_sec,
                device=engine.device,
                dtype=engine.dtype,
            )
            for name, trunk in self._trunks.items()
        }
        self._smoothers = {task: Smoother() for task in self._tasks}
        self._captioners = {
            task: Captioner(task, sentences)
            for task, config in self._tasks.items()
            if config.kind == 'caption'
        }

    @property
    def is_empty(self) -> bool:
        """Return whether there are no clip tasks."""
        return not self._trunks

    @property
    def clip_sec(self) -> float:
        """Return how many seconds of frames a recognition needs; 0 if one frame or none."""
        trunks = self._trunks.values()
        return max((trunk.clip_seconds for trunk in trunks if trunk.num_frames > 1), default=0.0)

    @property
    def span_sec(self) -> float:
        """Return how many seconds of frames are at hand."""
        return min((buffer.span_sec for buffer in self._buffers.values()), default=0.0)

    def shrink(self, pixels: Tensor, *, is_bgr: bool) -> dict[str, Tensor]:
        """
        Return what each trunk sees of a frame, ``[3, h, w]``.

        :param pixels: ``uint8 [1, H, W, 3]`` on the engine's device.
        """
        frames = {}
        for name, preprocessor in self._preprocessors.items():
            small = (
                self._bgr_preprocessors[name].resize(pixels).flip(1)
                if is_bgr
                else preprocessor.resize(pixels)
            )
            frames[name] = preprocessor.normalise(small)[0]
        return frames

    def append(self, frames: Mapping[str, Tensor], frame: Frame) -> Admission | None:
        """Add what :meth:`shrink` returned to the clips; None without clip tasks."""
        admission = None
        for name, pixels in frames.items():
            admission = self._buffers[name].append(
                pixels,
                frame.stamp_ns,
                source=(frame.frame_id, frame.size),
                received_sec=frame.received_sec,
            )
        return admission

    def reset(self) -> None:
        """Forget all frames."""
        for buffer in self._buffers.values():
            buffer.reset()

    def newest_clips(self) -> dict[str, Clip]:
        """Return the newest clip of each trunk; nothing while one of them is not filled."""
        clips = {}
        for name, buffer in self._buffers.items():
            if (clip := buffer.snapshot()) is None:
                return {}
            clips[name] = clip
        return clips

    def describe(
        self,
        scores: Mapping[str, np.ndarray],
        clips: Mapping[str, Clip],
        settings: RecognitionSettings,
    ) -> tuple[list[Recognition], Caption | None]:
        """
        Return what the scores of all tasks say of their clips.

        :raises ValueError: If a score is not finite; what was smoothed before is kept.
        """
        recognitions, caption = [], None
        for task, values in scores.items():
            clip = clips[self._tasks[task].trunk]
            if task in self._captioners:
                caption = self._captioners[task].describe(values, clip, settings)
                continue
            smoothed = self._smoothers[task].update(
                values,
                int(clip.stamps_ns[-1]),
                time_constant_sec=settings.smoothing_sec,
                generation=clip.generation,
            )
            recognition = self._describe(task, smoothed, clip, settings.top_k)
            # What can't be compared is not shown either.
            is_relevant = 1 - recognition.nothing >= settings.min_relevance
            if not (recognition.score >= settings.min_score and is_relevant):
                recognition = replace(recognition, label='')
            recognitions.append(recognition)
        return recognitions, caption

    def _describe(
        self, task: str, probabilities: np.ndarray, clip: Clip, top_k: int
    ) -> Recognition:
        ranked = top_labels(probabilities[:-1], self._tasks[task].labels, top_k)
        label, score = ranked[0]
        return Recognition(
            task=task,
            label=label,
            score=score,
            top_k=ranked,
            nothing=float(probabilities[-1]),
            stamp_ns=int(clip.stamps_ns[-1]),
            clip_start_ns=int(clip.stamps_ns[0]),
            frame_id=clip.source[0],
            received_sec=clip.received_sec,
            num_distinct=clip.num_distinct,
        )
