"""
What the made-up activities look like: features as an extractor would give them.

The appearance of a moment is three blocks side by side:

- the verb: its vector, strongest in the middle of the action, and a second one that turns from
  plus to minus as the action goes on;
- the noun: its vector;
- the state of the object: its vector, that of the state before up to the point of no return and
  that of the state after from there on.

To each block come an offset of the video (somebody else's kitchen), one of the action (another way
to do it, so that a longer look helps no more) and noise of every moment. All of it is mixed by one
fixed matrix. State vectors are seen through the same offsets before and after a change: what one
moment hides, the difference of two shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtl_training.data.activity_grammar.grammar import NOUNS, STATES, VERBS
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BLOCKS = {'verb': 16, 'noun': 16, 'state': 8}  # dimensions
# Standard deviations of a block's dimensions, where the vectors have the length 1.
VIDEO_OFFSET = {'verb': 0.2, 'noun': 0.2, 'state': 0.3}
ACTION_OFFSET = {'verb': 0.45, 'noun': 0.5, 'state': 0.3}
MOMENT_NOISE = {'verb': 0.4, 'noun': 0.4, 'state': 0.3}


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
    state: NDArray[np.int64]  # [T]
    phase: Floats  # [T], of the action, from 0 to 1


def features_of(world: World, moments: Moments, rng: np.random.Generator, noise: float) -> Floats:
    """
    Return the features of a video, ``[T, D]``.

    :param noise: Factor of offsets and noise; 0: nothing is hidden.
    """
    angle = np.pi * moments.phase[:, None]
    verbs = world.verbs[moments.verb]
    appearance = np.concatenate(
        [
            np.sin(angle) * verbs[:, 0] + 0.5 * np.cos(angle) * verbs[:, 1],
            world.nouns[moments.noun],
            world.states[moments.state],
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


def _unit(vectors: NDArray[np.float64]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)


def _spread(of_blocks: dict[str, float]) -> NDArray[np.float64]:
    return np.repeat([of_blocks[block] for block in BLOCKS], list(BLOCKS.values()))
