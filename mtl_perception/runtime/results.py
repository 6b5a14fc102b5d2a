"""What is said about a stream: of clips as a whole, and of each person in a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

from mtl_perception.runtime.frame_buffer import Frame
import numpy as np

# Boxes that score less are nobody; from here on they continue a person's track.
LEAST_BOX_SCORE = 0.1


@dataclass(frozen=True, kw_only=True)
class RecognitionSettings:
    """
    What may change from one frame to the next.

    :raises ValueError: If a value breaks its rule.
    """

    min_score: float = 0.0  # below this probability a label is ''
    min_relevance: float = 0.5  # below this one that anything of a task is to be seen, too
    min_caption_score: float = -1.0  # below this cosine a sentence is ''
    smoothing_sec: float = 0.0  # time constant of the smoothing of probabilities and embeddings
    top_k: int = 3  # how many labels or sentences to report
    clip_every: int = 1  # recognise the clip at every such frame
    frame_every: int = 1  # look for people in every such frame
    min_person_score: float = 0.5  # nothing is said of boxes below
    min_keypoint_score: float = 0.0  # joints below are missing
    max_track_age_sec: float = 1.0  # who returns within this time keeps its id, see PersonTracker

    def __post_init__(self) -> None:
        least = {'min_score': 0.0, 'min_relevance': 0.0, 'min_keypoint_score': 0.0}
        least |= {'min_caption_score': -1.0, 'min_person_score': LEAST_BOX_SCORE}
        for name, low in least.items():
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must lie in [{low}, 1], got {getattr(self, name)}.')
        for name in ('top_k', 'clip_every', 'frame_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}.')
        if not (math.isfinite(self.smoothing_sec) and self.smoothing_sec >= 0):
            raise ValueError(
                f'smoothing_sec must be finite and not negative, got {self.smoothing_sec}.'
            )
        if not (math.isfinite(self.max_track_age_sec) and self.max_track_age_sec > 0):
            raise ValueError(
                f'max_track_age_sec must be positive and finite, got {self.max_track_age_sec}.'
            )


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
    group: str = ''  # of the labels, where the task has several groups


@dataclass(frozen=True)
class Caption:
    """What one clip shows, in words."""

    task: str
    sentence: str  # the nearest of the list, or '' when none is near enough
    score: float  # cosine of the nearest one, from -1 to 1
    candidates: list[tuple[str, float]]  # the nearest sentences, best first
    stamp_ns: int  # stamp of the clip's newest frame
    clip_start_ns: int  # stamp of its oldest
    frame_id: str  # of the clip's frames
    received_sec: float  # the clock reading that came with the newest frame
    num_distinct: int  # different frames in the clip


@dataclass(frozen=True)
class Anticipation:
    """Which actions are expected to follow."""

    groups: tuple[str, ...]  # what each action has a label of
    # In the order in which they are expected: of each group the most probable label and its
    # probability.
    actions: list[list[tuple[str, float]]]
    stamp_ns: int  # stamp of the newest frame
    memory_start_ns: int  # of the oldest that they are judged from
    frame_id: str


@dataclass(frozen=True)
class ObjectChange:
    """Whether an object changes its state in the remembered seconds, and when."""

    change_score: float | None  # probability that there is a change; None where no task tells
    stamp_ns: int  # stamp of the newest frame
    memory_start_ns: int  # of the oldest that it is judged from
    frame_id: str
    point_ns: int | None = None  # from when on it can't be undone; None where that is not known
    point_score: float = 0.0  # probability of that moment

    @property
    def is_change(self) -> bool:
        """Return whether a change is more probable than none."""
        return self.change_score is not None and self.change_score > 0.5


@dataclass
class MemoryResults:
    """What is told from the features of earlier clips; it may be nothing."""

    recognitions: list[Recognition] = field(default_factory=list)
    anticipation: Anticipation | None = None
    change: ObjectChange | None = None


@dataclass(frozen=True)
class PersonResult:
    """
    One person in one frame.

    Places are pixels of the original image, (0, 0) being the centre of the first one.
    """

    track_id: str  # the same in every frame that shows the person
    box: np.ndarray  # float32 [4], xyxy, within the image
    score: float  # of the box and, where joints are looked for, of the pose
    keypoints: np.ndarray  # float32 [17, 3]: x, y, score; NaN, NaN, 0 for a joint not found
    activity: str = ''  # the most probable one, or '' when none is probable enough
    activity_score: float = 0.0  # probability of the most probable activity
    top_k: list[tuple[str, float]] = field(default_factory=list)  # activities, best first


@dataclass(frozen=True)
class FrameResult:
    """The people in one frame, highest score first; maybe nobody."""

    people: list[PersonResult]
    stamp_ns: int
    frame_id: str
    received_sec: float  # the clock reading that came with the frame
    size: tuple[int, int]  # (height, width) of the original image, pixels


@dataclass(frozen=True)
class Results:
    """What was said at one moment; it may be nothing."""

    recognitions: list[Recognition] = field(default_factory=list)  # one for each task of labels
    caption: Caption | None = None  # None without sentences to choose from, too
    anticipation: Anticipation | None = None
    change: ObjectChange | None = None
    people: FrameResult | None = None  # None where no frame was looked at
    frame: Frame | None = None  # the newest frame behind all this
    branch_sec: dict[str, float] = field(default_factory=dict)  # of 'clip', 'memory', 'frame'
    # Why a branch, or the activities of people, say nothing of this moment.
    errors: list[ValueError] = field(default_factory=list)
    # Whether there was a new frame of which nothing was to be said: neither clip nor people were
    # due, or captions alone, without sentences to choose from.
    is_pause: bool = False

    @property
    def of_clips(self) -> list[Recognition | Caption]:
        """Return what was said of clips, and which labels of earlier ones."""
        captions = [] if self.caption is None else [self.caption]
        return [*self.recognitions, *captions]

    def __bool__(self) -> bool:
        """Return whether anything was said."""
        others = (self.people, self.anticipation, self.change)
        return bool(self.of_clips) or any(said is not None for said in others)
