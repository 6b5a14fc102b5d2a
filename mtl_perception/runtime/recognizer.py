"""From frames to results: what looks at clips and what looks at frames, in one network call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
import threading
from typing import TYPE_CHECKING

from mtl_perception.runtime.clip_branch import ClipBranch
from mtl_perception.runtime.clip_buffer import Admission, Clip
from mtl_perception.runtime.engine import Engine, Remember
from mtl_perception.runtime.frame_buffer import Frame, FrameBuffer
from mtl_perception.runtime.memory_branch import MemoryBranch
from mtl_perception.runtime.outputs import Outputs
from mtl_perception.runtime.picture import Picture
from mtl_perception.runtime.results import RecognitionSettings, Results
from mtl_perception.runtime.window_memory import MemoryState
from mtl_perception.sentences.sentence_list import SentenceList
import torch

if TYPE_CHECKING:
    from mtl_perception.runtime.frame_branch import FrameBranch


def load_frame_branch() -> type[FrameBranch]:
    """
    Return what looks at frames.

    Only now is its tracker imported, which need not be there for a checkpoint of clips.

    :raises ImportError: If it can't be.
    """
    try:
        from mtl_perception.runtime.frame_branch import FrameBranch as Branch
    except ImportError as error:
        raise ImportError(
            f'a checkpoint that finds people needs requirements/tracking.txt installed: {error}.'
        ) from error
    return Branch


class Recognizer:
    """
    Recognise who is there and what people do in a stream of frames.

    One thread gives frames with :meth:`add_frame`; another waits for news with
    :meth:`wait_for_frame` and calls :meth:`recognise`, which takes the newest state: frames that
    came in between are part of the clip but get no results of their own.

    :param engine: The network; its device holds the clips too.
    :param max_gap_sec: Frames further apart than this do not belong to one clip.
    :param sentences: Returns what captions are chosen from as it is now, without waiting; without
        it, or while it returns None, there are no captions.
    :raises ImportError: If the network finds people and what tracks them is not installed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_gap_sec: float = 1.0,
        sentences: Callable[[], SentenceList | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._clips = ClipBranch(engine, max_gap_sec=max_gap_sec, sentences=sentences)
        self._memory = MemoryBranch(engine)
        self._frames = None if engine.frame_trunk is None else load_frame_branch()(engine)
        self._newest = FrameBuffer()
        # Clips and frames end at the same frame.
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._seen = 0
        self._num_steps = 0
        self._num_resets = 0
        self._recognised_resets = -1
        self.num_superseded = 0  # frames that were never the newest when there was time for one

    @property
    def clip_sec(self) -> float:
        """Return how many seconds of frames a recognition needs; 0 if one frame or none."""
        return self._clips.clip_sec

    @property
    def span_sec(self) -> float:
        """Return how many seconds of frames are at hand."""
        return self._clips.span_sec

    @property
    def memory(self) -> MemoryState | None:
        """Return how much is remembered of earlier clips; None where no task looks at them."""
        return self._memory.state

    @property
    def num_tracks(self) -> int:
        """Return how many people are remembered."""
        return 0 if self._frames is None else self._frames.num_tracks

    def add_frame(
        self,
        picture: Picture,
        stamp_ns: int,
        *,
        frame_id: str = '',
        received_sec: float = 0.0,
        keep_picture: bool = False,
    ) -> Admission:
        """
        Shrink a frame to what the network sees and take it in.

        :param stamp_ns: When it was acquired.
        :param frame_id: The camera it comes from; a change of it or of the size starts anew.
        :param received_sec: Passed on to the results whose newest frame this is.
        :param keep_picture: Whether these results are to hold the picture itself, too.
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(picture.pixels).to(self._engine.device).unsqueeze(0)
            of_clips = self._clips.shrink(pixels, is_bgr=picture.is_bgr)
            of_frame = None
            if self._frames is not None:
                of_frame = self._frames.shrink(pixels, is_bgr=picture.is_bgr)
            frame = Frame(
                stamp_ns=stamp_ns,
                frame_id=frame_id,
                size=picture.size,
                received_sec=received_sec,
                pixels=of_frame,
                picture=picture if keep_picture else None,
            )
            with self._lock:
                admission = self._newest.append(frame)
                # Clips say more: that a gap was too long, or that a frame took another's place.
                admission = self._clips.append(of_clips, frame) or admission
                self._num_resets += admission.is_reset
        self._news.set()
        return admission

    def wait_for_frame(self, timeout_sec: float) -> bool:
        """Wait until a frame has been added since the last recognition; False on a timeout."""
        return self._news.wait(timeout_sec)

    def wake(self) -> None:
        """End a :meth:`wait_for_frame`."""
        self._news.set()

    def reset(self) -> None:
        """Forget all frames and people."""
        with self._lock:
            self._clips.reset()
            self._newest.reset()
            self._num_resets += 1

    def recognise(self, settings: RecognitionSettings | None = None) -> Results:
        """
        Return what the newest frame, and the clip that ends with it, show.

        There is nothing while no frame is new. People are looked for from the first frame on;
        clips are recognised once frames cover them, and what looks further back follows once
        earlier clips fill its window. If outputs of one branch, or activities, are
        not finite, the results say so in place of what they would have said, and all else stays as
        it is.
        """
        settings = settings or RecognitionSettings()
        self._news.clear()
        with self._lock:
            frame, clips, branch, is_pause = self._next(settings)
        inputs = {name: clip.frames for name, clip in clips.items()}
        if frame is not None and branch is not None:
            with torch.inference_mode():
                inputs[branch.trunk] = branch.input_of(frame)
        if frame is None or not inputs:
            return Results(is_pause=is_pause)
        outputs = self._engine.infer(inputs, self._remembering(clips))
        results = self._describe_clips(outputs, clips, settings)
        results = replace(results, frame=frame, branch_sec=outputs.branch_sec)
        if outputs.people is None or branch is None:
            return results
        try:
            people, errors = branch.describe(outputs.people, frame, settings)
        except ValueError as error:
            results.errors.append(error)
            return results
        return replace(results, people=people, errors=results.errors + errors, is_pause=False)

    def _remembering(self, clips: Mapping[str, Clip]) -> Remember | None:
        if self._memory.is_empty or not clips:
            return None
        return lambda features: self._memory.remember(features, clips)

    def _describe_clips(
        self, outputs: Outputs, clips: Mapping[str, Clip], settings: RecognitionSettings
    ) -> Results:
        """Return what clips show, and what is told from the features of earlier ones."""
        results = Results()
        try:
            recognitions, caption = self._clips.describe(outputs.scores, clips, settings)
            results = replace(results, recognitions=recognitions, caption=caption)
        except ValueError as error:
            results.errors.append(error)
        try:
            told = self._memory.describe(outputs, clips, settings)
            results = replace(
                results,
                recognitions=results.recognitions + told.recognitions,
                anticipation=told.anticipation,
                change=told.change,
            )
        except ValueError as error:
            results.errors.append(error)
        is_pause = bool(outputs.scores) and not results and not results.errors
        return replace(results, is_pause=is_pause)

    def _next(
        self, settings: RecognitionSettings
    ) -> tuple[Frame | None, dict[str, Clip], FrameBranch | None, bool]:
        """
        Return the newest frame if it is new, and which of its clips and branch are due.

        :return: Last whether it is new, and neither is.
        """
        frame = self._newest.newest
        if frame is None or frame.sequence <= self._seen:
            return None, {}, None, False
        is_clip_due = not self._clips.is_empty and self._num_steps % settings.clip_every == 0
        clips = self._clips.newest_clips() if is_clip_due else {}
        is_frame_due = self._num_steps % settings.frame_every == 0
        branch = self._frames if is_frame_due else None
        self._num_steps += 1
        # The frames that fill a new clip are not late, they are too few.
        if self._recognised_resets == self._num_resets:
            self.num_superseded += frame.sequence - self._seen - 1
        self._seen = frame.sequence
        if clips or branch:
            self._recognised_resets = self._num_resets
        return frame, clips, branch, not is_clip_due and branch is None
