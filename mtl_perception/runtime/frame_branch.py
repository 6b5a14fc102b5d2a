"""What looks at single frames: people, who they are, and what each of them does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mtl_perception.network.preprocessing import FramePreprocessor
from mtl_perception.runtime.engine import Engine
from mtl_perception.runtime.frame_buffer import Frame
from mtl_perception.runtime.outputs import FoundPeople
from mtl_perception.runtime.results import (
    FrameResult,
    LEAST_BOX_SCORE,
    PersonResult,
    RecognitionSettings,
)
from mtl_perception.runtime.smoothing import top_labels, TrackSmoother
from mtl_perception.runtime.track_history import TrackHistory
from mtl_perception.runtime.tracking import PersonTracker
import numpy as np
from torch import Tensor


class FrameBranch:
    """
    The frame tasks of an engine, which must have one of detection.

    Frames are kept as shrunk ``uint8`` and normalised when they are looked at: many never are.
    """

    def __init__(self, engine: Engine) -> None:
        assert engine.frame_trunk is not None
        self.trunk = engine.frame_trunk
        self._engine = engine
        preprocessor = FramePreprocessor(engine.config.trunks[self.trunk].preprocessing)
        self._preprocessor = preprocessor.to(engine.device)
        # Bars have the mean colour: in the order of the picture, until that is turned over.
        bgr = replace(preprocessor.config, mean=preprocessor.config.mean[::-1])
        self._bgr_preprocessor = FramePreprocessor(bgr)
        self._tracker = PersonTracker(min_score=LEAST_BOX_SCORE)
        activity = engine.config.task_of_kind('activity')
        self._activities = () if activity is None else engine.config.tasks[activity].labels
        settings = engine.activity_settings
        self._history = (
            TrackHistory(settings.history, settings.history_seconds) if settings else None
        )
        self._smoother = TrackSmoother()
        self._generation = 0
        self._size: tuple[int, int] | None = None

    @property
    def num_tracks(self) -> int:
        """Return how many people are remembered, those out of sight included."""
        return self._tracker.num_tracks

    def shrink(self, pixels: Tensor, *, is_bgr: bool) -> Tensor:
        """
        Return what the trunk sees of a frame, ``uint8 [1, 3, h, w]``.

        :param pixels: ``uint8 [1, H, W, 3]`` on the engine's device.
        """
        if is_bgr:
            return self._bgr_preprocessor.resize(pixels).flip(1)
        return self._preprocessor.resize(pixels)

    def input_of(self, frame: Frame) -> Tensor:
        """Return a frame as the network takes it, ``[1, 3, h, w]``."""
        assert frame.pixels is not None
        # As the engine's warm-up lays it out; before it becomes four times as large.
        normalised: Tensor = self._preprocessor.normalise(frame.pixels.contiguous())
        return normalised.to(self._engine.dtype)

    def describe(
        self, found: FoundPeople, frame: Frame, settings: RecognitionSettings
    ) -> tuple[FrameResult, list[ValueError]]:
        """
        Return who is in a frame, where and doing what.

        :param found: What the network found in it.
        :return: The people, and what is wrong: where the probabilities of what they do are not
            finite, nothing is said of these.
        :raises ValueError: If what people are found in is not finite; nothing is then said of the
            frame, and all tracks are kept.
        """
        if not found.is_finite:
            raise ValueError('outputs of the frame tasks must be finite, got NaN or infinity.')
        self._follow(frame, settings)
        boxes, keypoints = self._in_original(found, frame.size)
        ids = self._tracker.update(boxes, found.box_scores, frame.stamp_ns)
        activities: dict[str, np.ndarray] = {}
        errors: list[ValueError] = []
        try:
            activities = self._activities_of(ids, found, frame.stamp_ns, settings)
        except ValueError as error:
            errors.append(error)
        keypoints[keypoints[..., 2] < settings.min_keypoint_score] = (np.nan, np.nan, 0)
        scores = found.pose_scores if self._engine.finds_joints else found.box_scores
        is_shown = found.box_scores >= settings.min_person_score
        people = [
            PersonResult(
                track_id=ids[row],
                box=boxes[row],
                score=float(scores[row]),
                keypoints=keypoints[row],
                **self._words(activities.get(ids[row]), settings),
            )
            for row in np.argsort(-scores, kind='stable')
            if ids[row] and is_shown[row]
        ]
        result = FrameResult(
            people, frame.stamp_ns, frame.frame_id, frame.received_sec, frame.size
        )
        return result, errors

    def _follow(self, frame: Frame, settings: RecognitionSettings) -> None:
        """Forget everybody where a new stream begins, and let the parameters hold."""
        if frame.generation != self._generation:
            self._generation = frame.generation
            self._tracker.reset()
            self._smoother.reset()
            if self._history is not None:
                self._history.reset()
        if frame.size != self._size:
            self._size = frame.size
            matrix = self._preprocessor.transform(frame.size).numpy()
            self._scale, self._offset = matrix[[0, 1], [0, 1]], matrix[:, 2]
        self._tracker.max_age_sec = settings.max_track_age_sec
        self._tracker.activation_score = settings.min_person_score

    def _in_original(
        self, found: FoundPeople, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes and joints in pixels of the original image, none of them outside it."""
        # The outer edges of the first and of the last pixels.
        low, high = -0.5, np.array([size[1], size[0]]) - 0.5
        corners = (found.boxes.reshape(-1, 2, 2) - self._offset) / self._scale
        boxes = np.clip(corners, low, high).reshape(-1, 4).astype(np.float32)
        places = (found.keypoints[..., :2] - self._offset) / self._scale
        keypoints = np.concatenate([places, found.keypoints[..., 2:]], -1).astype(np.float32)
        # The bars around a padded image are no place for a joint. NaN is not inside either.
        is_inside = ((places >= low) & (places <= high)).all(-1)
        keypoints[~is_inside] = (np.nan, np.nan, 0)
        return boxes, keypoints

    def _activities_of(
        self,
        ids: Sequence[str],
        found: FoundPeople,
        stamp_ns: int,
        settings: RecognitionSettings,
    ) -> dict[str, np.ndarray]:
        """Return the smoothed probabilities of what each person with an id and joints does."""
        if self._history is None:
            return {}
        # In pixels of the network's input, as the classifier has learnt them.
        self._history.append(ids, found.keypoints, stamp_ns)
        has_joints: np.ndarray = np.any(found.keypoints[..., 2] > 0, axis=1)
        rows = [row for row, track in enumerate(ids) if track and has_joints[row]]
        if not rows:
            return {}
        tracks = [ids[row] for row in rows]
        probabilities = self._engine.activities(
            self._history.clips(tracks, stamp_ns),
            found.boxes[rows],
            self._preprocessor.config.size,
        )
        smoothed = self._smoother.update(
            tracks, probabilities, stamp_ns, time_constant_sec=settings.smoothing_sec
        )
        return dict(zip(tracks, smoothed))

    def _words(
        self, probabilities: np.ndarray | None, settings: RecognitionSettings
    ) -> dict[str, Any]:
        if probabilities is None:
            return {}
        ranked = top_labels(probabilities, self._activities, settings.top_k)
        label, score = ranked[0]
        return {
            'activity': label if score >= settings.min_score else '',
            'activity_score': score,
            'top_k': ranked,
        }
