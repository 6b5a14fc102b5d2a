"""From frames to recognitions: preprocessing, clip buffers, network and smoothing together."""

from __future__ import annotations

from dataclasses import dataclass, replace
import threading

from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.clip_buffer import Admission, Clip, ClipBuffer
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.smoothing import Smoother, top_labels
import numpy as np
import torch


@dataclass(frozen=True)
class Recognition:
    """What one task's head said about one clip."""

    task: str
    label: str  # the most probable label, or '' when none is probable enough
    score: float  # probability of the most probable label
    top_k: list[tuple[str, float]]  # the most probable labels, best first
    stamp_ns: int  # stamp of the clip's newest frame
    clip_start_ns: int  # stamp of its oldest
    frame_id: str  # of the clip's frames
    received_sec: float  # the clock reading that came with the newest frame
    num_distinct: int  # different frames in the clip
    nothing: float = 0.0  # probability that nothing of the task is to be seen; all sum to 1


class Recognizer:
    """
    Recognise what people do in a stream of frames.

    One thread gives frames with :meth:`add_frame`; another waits for news with
    :meth:`wait_for_frame` and calls :meth:`recognise`, which takes the newest state: frames that
    came in between are part of the clip but get no recognition of their own.

    :param engine: The network; its device holds the clips too.
    :param max_gap_sec: Frames further apart than this do not belong to one clip.
    """

    def __init__(self, engine: Engine, *, max_gap_sec: float = 1.0) -> None:
        self._engine = engine
        self._preprocessors: dict[str, FramePreprocessor] = {}
        self._buffers: dict[str, ClipBuffer] = {}
        for name, trunk in engine.config.trunks.items():
            if not engine.config.tasks_of(name):
                continue
            preprocessor = FramePreprocessor(trunk.preprocessing)
            self._preprocessors[name] = preprocessor.to(engine.device)
            self._buffers[name] = ClipBuffer(
                trunk.num_frames,
                trunk.clip_seconds,
                trunk.preprocessing.size,
                max_gap_sec=max_gap_sec,
                device=engine.device,
                dtype=engine.dtype,
            )
        self._smoothers = {task: Smoother() for task in engine.config.tasks}
        self._news = threading.Event()
        self._seen = -1
        self._generation = -1
        self.num_superseded = 0  # frames that were never the newest of a recognised clip

    @property
    def clip_sec(self) -> float:
        """Return how many seconds of frames a recognition needs."""
        trunks = self._engine.config.trunks
        return max(trunks[name].clip_seconds for name in self._buffers)

    @property
    def span_sec(self) -> float:
        """Return how many seconds of frames are at hand."""
        return min(buffer.span_sec for buffer in self._buffers.values())

    def add_frame(
        self,
        picture: Picture,
        stamp_ns: int,
        *,
        frame_id: str = '',
        received_sec: float = 0.0,
    ) -> Admission:
        """
        Shrink a frame to what the network sees and add it to the clip.

        :param stamp_ns: When it was acquired.
        :param frame_id: The camera it comes from; a change of it or of the size resets the clip.
        :param received_sec: Passed on to the recognition whose newest frame this is.
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(picture.pixels).to(self._engine.device).unsqueeze(0)
            for name, preprocessor in self._preprocessors.items():
                small = preprocessor.resize(pixels)
                if picture.is_bgr:
                    small = small.flip(1)
                admission = self._buffers[name].append(
                    preprocessor.normalise(small)[0],
                    stamp_ns,
                    source=(frame_id, picture.size),
                    received_sec=received_sec,
                )
        self._news.set()
        return admission

    def wait_for_frame(self, timeout_sec: float) -> bool:
        """Wait until a frame has been added since the last recognition; False on a timeout."""
        return self._news.wait(timeout_sec)

    def wake(self) -> None:
        """End a :meth:`wait_for_frame`."""
        self._news.set()

    def reset(self) -> None:
        """Forget all frames."""
        for buffer in self._buffers.values():
            buffer.reset()

    def recognise(
        self,
        *,
        min_score: float = 0.0,
        min_relevance: float = 0.5,
        smoothing_sec: float = 0.0,
        top_k: int = 3,
    ) -> list[Recognition]:
        """
        Recognise the newest clip; empty while there is none that has not been seen.

        :param min_score: Below this probability the label is ''.
        :param min_relevance: Below this probability that anything of the task is to be seen, the
            label is '' too.
        :param smoothing_sec: Time constant of the smoothing of the probabilities.
        :param top_k: How many labels to report.
        :raises ValueError: If a score is not finite; of that clip nothing is said, and what was
            smoothed before is kept.
        """
        self._news.clear()
        clips = self._newest_clips()
        if not clips:
            return []
        probabilities = self._engine.infer({name: clip.frames for name, clip in clips.items()})
        recognitions = []
        for task, values in probabilities.items():
            clip = clips[self._engine.config.tasks[task].trunk]
            smoothed = self._smoothers[task].update(
                values,
                int(clip.stamps_ns[-1]),
                time_constant_sec=smoothing_sec,
                generation=clip.generation,
            )
            recognition = self._describe(task, smoothed, clip, top_k)
            # What can't be compared is not shown either.
            is_relevant = 1 - recognition.nothing >= min_relevance
            if not (recognition.score >= min_score and is_relevant):
                recognition = replace(recognition, label='')
            recognitions.append(recognition)
        return recognitions

    def _newest_clips(self) -> dict[str, Clip]:
        clips = {}
        for name, buffer in self._buffers.items():
            clip = buffer.snapshot(newer_than=self._seen)
            if clip is None:
                return {}
            clips[name] = clip
        oldest = min(clips.values(), key=lambda clip: clip.sequence)
        # The frames that fill a new clip are not late, they are too few.
        if oldest.generation == self._generation:
            self.num_superseded += oldest.sequence - self._seen - 1
        self._seen, self._generation = oldest.sequence, oldest.generation
        return clips

    def _describe(
        self, task: str, probabilities: np.ndarray, clip: Clip, top_k: int
    ) -> Recognition:
        ranked = top_labels(probabilities[:-1], self._engine.config.tasks[task].labels, top_k)
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
