"""Videos of made-up activities, with their annotations and features."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

from mtl_training.data.activity_grammar.appearance import features_of, Moments, World
from mtl_training.data.activity_grammar.grammar import NOUNS, steps_of_video, VERBS
from mtl_training.data.annotations.ego4d import Action, RATE_HZ, StateChange
from mtl_training.data.annotations.ego4d_rows import FeatureSet, row_frames
from mtl_training.data.synthetic.clips import MAX_SEED, scene_seed
import numpy as np
from numpy.typing import NDArray

ACTION_SECONDS = (4.0, 8.0)
# Who takes something up or puts it down leaves it as it is: too easy as examples of no change.
UNMOVED = ('take', 'put')
# When in an action the state of the object changes, of its length.
CHANGE_PHASE = (0.2, 0.8)
_STRIDE, _WINDOW = 16, 32
_MAX_VIDEOS = 100_000


class ActivityGrammar:
    """
    A :class:`SegmentSource` of videos that are made up here.

    Nothing but the arguments decides what they are. The splits share what verbs, nouns and states
    look like, and no video. Each video is one clip; each action but those of
    :data:`UNMOVED` is an interval in which the state of its object changes or does not.

    :param split: train, val or test.
    :param num_videos: How many.
    :param num_actions: Of each video.
    :param seed: Another seed gives other looks and other videos.
    :param noise: Factor of all that hides what is done; see :mod:`appearance`.
    :param dim: Of the features.
    :raises ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        split: str = 'train',
        *,
        num_videos: int = 300,
        num_actions: int = 30,
        seed: int = 0,
        noise: float = 1.0,
        dim: int = 64,
    ) -> None:
        if not 1 <= num_videos <= _MAX_VIDEOS:
            raise ValueError(f'num_videos must be from 1 to {_MAX_VIDEOS}, got {num_videos}.')
        if num_actions < 1 or dim < 1:
            raise ValueError(f'num_actions and dim must be positive, got {num_actions} and {dim}.')
        if not 0 <= seed < MAX_SEED:
            raise ValueError(f'seed must be from 0 to {MAX_SEED - 1}, got {seed}.')
        if not 0 <= noise < np.inf:
            raise ValueError(f'noise must be a factor of at least 0, got {noise}.')
        self.split = split
        self.groups = {'verb': VERBS, 'noun': NOUNS}
        self.feature_set = FeatureSet('activity_grammar', _WINDOW, _STRIDE, dim)
        self.actions: list[Action] = []
        self.changes: list[StateChange] = []
        self._features: dict[str, NDArray[np.float32]] = {}
        looks = np.random.default_rng([seed, crc32(b'activity_grammar')])
        world = World.sample(looks, dim)
        for index in range(num_videos):
            rng = np.random.default_rng([scene_seed(split, seed, index), _DOMAIN])
            self._add(f'{split}-{seed}-{index:05d}', world, rng, num_actions, noise)

    def features(self, video_uid: str) -> NDArray[np.float32]:
        """Return the features of a video, ``[N, D]``."""
        return self._features[video_uid]

    def _add(
        self, uid: str, world: World, rng: np.random.Generator, count: int, noise: float
    ) -> None:
        steps = steps_of_video(rng, count)
        times = _times(rng, count)
        for i, (step, (start, end, moment)) in enumerate(zip(steps, times.tolist())):
            self.actions.append(Action(uid, uid, i, start, end, step.verb, step.noun))
            if VERBS[step.verb] not in UNMOVED:
                changes = step.before != step.after
                pnr = moment if changes else None
                self.changes.append(StateChange(f'{uid}-{i}', uid, uid, start, end, changes, pnr))
        # The middle of what each row sees.
        frames = row_frames(int(times[-1, 1]), self.feature_set).mean(1)
        shown = _moments(np.array(steps), times, frames)
        self._features[uid] = features_of(world, shown, rng, noise)


def _times(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Return when actions start, end, and change a state if they do: frames, ``[A, 3]``."""
    ends = np.cumsum(np.round(rng.uniform(*ACTION_SECONDS, count) * RATE_HZ))
    starts = np.concatenate([[0], ends[:-1]])
    moments = np.round(starts + rng.uniform(*CHANGE_PHASE, count) * (ends - starts))
    return np.stack([starts, ends, moments], axis=1).astype(np.int64)


def _moments(
    steps: NDArray[np.int64], times: NDArray[np.int64], frames: NDArray[np.float64]
) -> Moments:
    starts, ends, changes = times.T
    action = np.searchsorted(ends, frames, side='right').clip(0, len(ends) - 1)
    verb, noun, before, after = steps[action].T
    phase = (frames - starts[action]) / (ends - starts)[action]
    state = np.where(frames < changes[action], before, after)
    return Moments(action, verb, noun, before, state, phase.astype(np.float32))


# Apart from the scenes of rendered clips, which have the same seeds.
_DOMAIN = crc32(b'videos of activities')


@lru_cache(maxsize=4)
def activity_grammar_source(
    split: str, *, num_videos: int, num_actions: int, seed: int, noise: float, dim: int
) -> ActivityGrammar:
    """Return the videos; those that several tasks ask for are made once."""
    return ActivityGrammar(
        split, num_videos=num_videos, num_actions=num_actions, seed=seed, noise=noise, dim=dim
    )
