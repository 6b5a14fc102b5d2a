"""
What the made-up activities look like: features as an extractor would give them.

The appearance of a moment is three blocks side by side:

- the verb: its vector, strongest in the middle of the action, and a second one that turns from
  plus to minus as the action goes on;
- the noun: its vector;
- the state of the object: its vector, that of the state before up to the point of no return and
  that of the state after from there on.

To each block come an offset of the video (somebody else's kitchen), one of the action (another way
to do it, so that a longer look helps no more) and noise of every moment. In half of the actions
something covers the object for a while: it looks as if it had changed, and then as before. All of
it is mixed by one fixed matrix. So one moment hides the state, and that it looks different at some
moments does not say that it changed: that takes what is before and what is after.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtl_training.data.activity_grammar.grammar import CHANGES, NOUNS, STATES, VERBS
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BLOCKS = {'verb': 16, 'noun': 16, 'state': 8}  # dimensions
# Standard deviations of a block's dimensions, where the vectors have the length 1.
VIDEO_OFFSET = {'verb': 0.1, 'noun': 0.1, 'state': 0.3}
ACTION_OFFSET = {'verb': 0.35, 'noun': 0.5, 'state': 0.4}
MOMENT_NOISE = {'verb': 0.4, 'noun': 0.4, 'state': 0.15}
# Share of the actions in which the object is covered for a while, and for how much of the action.
COVERED = 0.5
COVER_PHASE = (0.15, 0.3)


@dataclass(frozen=True, slots=True)
class World:
    """The vectors that all videos of a seed share."""

    verbs: Floats  # [V, 2, 16]: in the middle, and at the ends
    nouns: Floats  # [M, 16]
    states: Floats  # [K, 8]
    mixing: Floats  # [40, D]

    @staticmethod
    def sample(rng: np.random.Generator, dim: int) -> World:
        """
        Draw the vectors.

        :param dim: D, of the features.
        """
        verb, noun, state = BLOCKS.values()
        mixing = rng.standard_normal((verb + noun + state, dim)) / np.sqrt(dim)
        return World(
            _unit(rng.standard_normal((len(VERBS), 2, verb))),
            _unit(rng.standard_normal((len(NOUNS), noun))),
            _unit(rng.standard_normal((len(STATES), state))),
            # Features of about unit variance.
            (mixing * _GAIN).astype(np.float32),
        )


@dataclass(frozen=True, slots=True)
class Moments:
    """What goes on at the T moments of a video of A actions."""

    action: NDArray[np.int64]  # [T], which one of the video
    verb: NDArray[np.int64]  # [T]
    noun: NDArray[np.int64]  # [T]
    before: NDArray[np.int64]  # [T], state of the object before the action
    state: NDArray[np.int64]  # [T], at this moment
    phase: Floats  # [T], of the action, from 0 to 1


def features_of(world: World, moments: Moments, rng: np.random.Generator, noise: float) -> Floats:
    """
    Return the features of a video, ``[T, D]``.

    :param noise: Factor of offsets and noise; 0: nothing is hidden.
    """
    angle = np.pi * moments.phase[:, None]
    verbs = world.verbs[moments.verb]
    states = world.states[moments.state] + noise * _covers(world, moments, rng)
    appearance = np.concatenate(
        [
            np.sin(angle) * verbs[:, 0] + 0.5 * np.cos(angle) * verbs[:, 1],
            world.nouns[moments.noun],
            states,
        ],
        axis=1,
    )
    count = int(moments.action.max()) + 1
    per_action = rng.standard_normal((count, len(world.mixing))) * _spread(ACTION_OFFSET)
    hidden = rng.standard_normal(len(world.mixing)) * _spread(VIDEO_OFFSET)
    hidden = hidden + per_action[moments.action]
    hidden = hidden + rng.standard_normal(appearance.shape) * _spread(MOMENT_NOISE)
    return (appearance + noise * hidden).astype(np.float32) @ world.mixing


_GAIN = 2.5
# What each state can become; what is chopped stays so.
_NEXT = [
    [STATES.index(after) for (_, state, _), after in CHANGES.items() if state == name]
    or [STATES.index(name)]
    for name in STATES
]


def _covers(world: World, moments: Moments, rng: np.random.Generator) -> Floats:
    """Return what covers add to the state, ``[T, 8]``: it looks as if it had changed."""
    action, first = np.unique(moments.action, return_index=True)
    start, end = rng.random(len(action)), rng.uniform(*COVER_PHASE, len(action))
    end = np.where(rng.random(len(action)) < COVERED, start + end, start)
    before = moments.before[first]
    seeming = np.array([rng.choice(_NEXT[state]) for state in before.tolist()])
    looks = (world.states[seeming] - world.states[before])[np.searchsorted(action, moments.action)]
    start, end = (times[np.searchsorted(action, moments.action)] for times in (start, end))
    is_covered = (start <= moments.phase) & (moments.phase < end)
    return np.asarray(is_covered[:, None] * looks, np.float32)


def _unit(vectors: NDArray[np.float64]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)


def _spread(of_blocks: dict[str, float]) -> NDArray[np.float64]:
    return np.repeat([of_blocks[block] for block in BLOCKS], list(BLOCKS.values()))
