"""
The rules of the made-up activities: who knows them can foresee what is done.

A video follows one of the :data:`RECIPES`. It goes through the objects of its recipe in episodes:
the next object is the recipe's next with :data:`IN_ORDER`, else any other of the recipe. In an
episode the object is taken up, brought into one of the states that are wanted (:data:`GOALS`), and
put down. Between, the verb depends

- on the state of the object: a verb that changes it (:data:`CHANGES`) is the likeliest, so the
  produce is washed, peeled and cut, in this order;
- on the kind of object: nobody peels a cup (:data:`VERBS_OF`);
- on the verb before: what was turned is inspected, and hardly anything is done twice, unless
- it failed: one attempt in three (:data:`FAILING`) changes nothing and is repeated.

So neither the verb nor the state alone tells whether something changes: that takes the state
before and after. Objects keep their states from one episode to the next; of produce that is
chopped, a new piece is taken.
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
GOALS = {'produce': ('chopped',), 'container': ('closed', 'empty'), 'vessel': ('full', 'empty')}
VERBS_OF = {
    'produce': ('wash', 'peel', 'cut'),
    'container': ('open', 'close', 'pour', 'fill'),
    'vessel': ('fill', 'pour', 'wash', 'stir'),
}
HANDLING = ('take', 'put', 'turn', 'inspect')  # of anything; they change nothing
VERBS = tuple(sorted({*HANDLING, *(verb for verbs in VERBS_OF.values() for verb in verbs)}))
NOUNS = tuple(sorted(KINDS))
STATES = tuple(sorted({*FIRST_STATE.values(), *CHANGES.values()}))
IN_ORDER = 0.9
LONGEST = 9  # actions of an episode
FAILING = 0.35  # share of the attempts to change something
PUT = 0.95  # how likely an object is put down once it is as wanted
# Weights of the verbs between taking up and putting down.
_CHANGING, _SUITING, _HANDLING, _AFTER_TURNING, _AGAIN = 6.0, 0.3, 0.3, 8.0, 0.1


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


def verb_weights(kind: str, state: str, previous: str) -> dict[str, float]:
    """Return how likely the verbs within an episode are, not normalised."""
    changing = {verb for verb in VERBS_OF[kind] if (kind, state, verb) in CHANGES}
    weights = {verb: _CHANGING if verb in changing else _SUITING for verb in VERBS_OF[kind]}
    weights |= {'turn': _HANDLING, 'inspect': _AFTER_TURNING if previous == 'turn' else _HANDLING}
    if previous in weights and previous not in changing:
        weights[previous] *= _AGAIN
    return weights


def _episode(rng: np.random.Generator, noun: str, states: dict[str, str]) -> list[Step]:
    kind, verb, is_ready = KINDS[noun], 'take', False
    steps = [Step(*_numbers('take', noun, states[noun], states[noun]))]
    while len(steps) < LONGEST - 1 and not (is_ready and rng.random() < PUT):
        before = states[noun]
        verb = _drawn(rng, verb_weights(kind, before, verb))
        if rng.random() >= FAILING:
            states[noun] = CHANGES.get((kind, before, verb), before)
            is_ready |= states[noun] != before and states[noun] in GOALS[kind]
        steps.append(Step(*_numbers(verb, noun, before, states[noun])))
    return [*steps, Step(*_numbers('put', noun, states[noun], states[noun]))]


def _drawn(rng: np.random.Generator, weights: dict[str, float]) -> str:
    shares = np.cumsum([*weights.values()])
    return [*weights][int(np.searchsorted(shares, rng.random() * shares[-1], side='right'))]


def _numbers(verb: str, noun: str, before: str, after: str) -> tuple[int, int, int, int]:
    return VERBS.index(verb), NOUNS.index(noun), STATES.index(before), STATES.index(after)
