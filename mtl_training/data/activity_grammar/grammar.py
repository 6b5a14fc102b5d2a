"""
The rules of the made-up activities: who knows them can foresee what is done.

A video follows one of the :data:`RECIPES`. It goes through the objects of its recipe in episodes:
the next object is the recipe's next with :data:`IN_ORDER`, else any other of the recipe. An
episode of 3 to 8 actions takes the object up and puts it down again. Between, the verb depends

- on the state of the object: a verb that changes it (:data:`CHANGES`) is the likeliest, so the
  produce is washed, peeled and cut, in this order;
- on the kind of object: nobody peels a cup (:data:`VERBS_OF`);
- on the verb before: who has turned something inspects it, hardly anything is done twice.

A verb that suits the kind of object but not its state changes nothing: to wash what is clean. So
neither the verb nor the state alone tells whether something changes, both together do. Objects
keep their states from one episode to the next; of produce that is chopped, a new piece is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

KINDS = {
    'onion': 'produce',
    'carrot': 'produce',
    'potato': 'produce',
    'tomato': 'produce',
    'jar': 'container',
    'bottle': 'container',
    'box': 'container',
    'bag': 'container',
    'pan': 'vessel',
    'pot': 'vessel',
    'bowl': 'vessel',
    'cup': 'vessel',
}
RECIPES = {
    'soup': ('pot', 'carrot', 'onion', 'box', 'bowl'),
    'salad': ('tomato', 'carrot', 'bowl', 'bottle', 'bag'),
    'stew': ('pan', 'potato', 'onion', 'jar', 'pot'),
    'sauce': ('tomato', 'onion', 'pan', 'jar', 'cup'),
    'tea': ('cup', 'pot', 'box', 'bottle', 'jar'),
    'mash': ('potato', 'pot', 'bowl', 'bag', 'cup'),
}
# What a verb makes of the state of an object.
CHANGES = {
    ('produce', 'dirty', 'wash'): 'clean',
    ('produce', 'clean', 'peel'): 'peeled',
    ('produce', 'peeled', 'cut'): 'chopped',
    ('container', 'closed', 'open'): 'opened',
    ('container', 'opened', 'pour'): 'empty',
    ('container', 'opened', 'close'): 'closed',
    ('container', 'empty', 'fill'): 'opened',
    ('vessel', 'empty', 'fill'): 'full',
    ('vessel', 'full', 'pour'): 'dirty',
    ('vessel', 'dirty', 'wash'): 'empty',
}
FIRST_STATE = {'produce': 'dirty', 'container': 'closed', 'vessel': 'empty'}
VERBS_OF = {
    'produce': ('wash', 'peel', 'cut'),
    'container': ('open', 'close', 'pour', 'fill'),
    'vessel': ('fill', 'pour', 'wash', 'stir'),
}
HANDLING = ('take', 'put', 'turn', 'inspect')  # of anything; they change nothing
VERBS = tuple(sorted({*HANDLING, *(verb for verbs in VERBS_OF.values() for verb in verbs)}))
NOUNS = tuple(sorted(KINDS))
STATES = tuple(sorted({*FIRST_STATE.values(), *CHANGES.values()}))
IN_ORDER = 0.8
EPISODE = (3, 8)  # actions of one episode, fewest and most
# Weights of the verbs between taking up and putting down.
_CHANGING, _SUITING, _HANDLING, _AFTER_TURNING, _AGAIN = 6.0, 1.4, 0.8, 6.0, 0.1


class Step(NamedTuple):
    """One action, and the state of its object before and after; numbers of the tables above."""

    verb: int
    noun: int
    before: int
    after: int


def steps_of_video(rng: np.random.Generator, count: int) -> list[Step]:
    """
    Return the actions of a video.

    :param count: How many; the last episode may break off.
    """
    recipe = list(RECIPES.values())[rng.integers(len(RECIPES))]
    states: dict[str, str] = {}
    steps: list[Step] = []
    place = int(rng.integers(len(recipe)))
    while len(steps) < count:
        noun = recipe[place]
        if states.get(noun, 'chopped') == 'chopped':
            states[noun] = FIRST_STATE[KINDS[noun]]
        steps += _episode(rng, noun, states)
        jump = 1 if rng.random() < IN_ORDER else int(rng.integers(2, len(recipe)))
        place = (place + jump) % len(recipe)
    return steps[:count]


def changed(kind: str, state: str, verb: str) -> str:
    """Return the state of an object after an action."""
    return CHANGES.get((kind, state, verb), state)


def verb_weights(kind: str, state: str, previous: str) -> dict[str, float]:
    """Return how likely the verbs within an episode are, not normalised."""
    weights = {
        verb: _CHANGING if (kind, state, verb) in CHANGES else _SUITING for verb in VERBS_OF[kind]
    }
    weights |= {'turn': _HANDLING, 'inspect': _AFTER_TURNING if previous == 'turn' else _HANDLING}
    if previous in weights:
        weights[previous] *= _AGAIN
    return weights


def _episode(rng: np.random.Generator, noun: str, states: dict[str, str]) -> list[Step]:
    kind, previous = KINDS[noun], 'take'
    length = int(rng.integers(EPISODE[0], EPISODE[1] + 1))
    steps = []
    for i in range(length):
        verb = 'take' if i == 0 else 'put'
        if 0 < i < length - 1:
            weights = verb_weights(kind, states[noun], previous)
            shares = np.cumsum([*weights.values()])
            chosen = int(np.searchsorted(shares, rng.random() * shares[-1], side='right'))
            verb = [*weights][chosen]
        before = states[noun]
        states[noun] = changed(kind, before, verb)
        steps.append(Step(*_numbers(verb, noun, before, states[noun])))
        previous = verb
    return steps


def _numbers(verb: str, noun: str, before: str, after: str) -> tuple[int, int, int, int]:
    return VERBS.index(verb), NOUNS.index(noun), STATES.index(before), STATES.index(after)
