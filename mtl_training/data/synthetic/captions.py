"""Sentences that say who does what where."""

from collections.abc import Sequence

from mtl_training.data.synthetic.outfits import Outfit
import numpy as np

# Third person singular, and the form after "is".
_PHRASES: dict[str | None, tuple[str, str]] = {
    'walk': ('walks', 'walking'),
    'run': ('runs', 'running'),
    'sit_down': ('sits down', 'sitting down'),
    'stand_up': ('stands up from a seat', 'standing up from a seat'),
    'jump': ('jumps up and down', 'jumping up and down'),
    'squat': ('does squats', 'doing squats'),
    'bend': ('bends down to the floor', 'bending down to the floor'),
    'kick': ('kicks with one leg', 'kicking with one leg'),
    'throw': ('throws something overarm', 'throwing something overarm'),
    'wave': ('waves a hand', 'waving a hand'),
    'point_left': ('points to the left', 'pointing to the left'),
    'point_right': ('points to the right', 'pointing to the right'),
    'swipe_left': ('swipes a hand to the left', 'swiping a hand to the left'),
    'swipe_right': ('swipes a hand to the right', 'swiping a hand to the right'),
    'stop': ('signals stop with an open palm', 'signalling stop with an open palm'),
    'beckon': ('beckons with one hand', 'beckoning with one hand'),
    'raise_both_hands': ('raises both hands', 'raising both hands'),
    'clap': ('claps', 'clapping'),
    None: ('does nothing in particular', 'doing nothing in particular'),
}
_NUMBERS = {1: 'one other person', 2: 'two other people', 3: 'three other people'}
_PATTERNS = {
    'stripes': 'striped ',
    'pinstripes': 'striped ',
    'dots': 'dotted ',
    'block': 'two-coloured ',
    'plain': '',
}


def _article(words: str) -> str:
    return f'{"an" if words[0] in "aeiou" else "a"} {words}'


def make_caption(
    rng: np.random.Generator, label: str | None, outfit: Outfit, place: str, num_others: int
) -> str:
    """
    Return one sentence about a scene.

    :param label: What the main person does.
    :param place: Such as "in front of a brick wall".
    :param num_others: How many people stand or sit around.
    """
    garment = _article(f'{_PATTERNS[outfit.pattern]}{outfit.shirt_name} shirt')
    clothes = (
        f'{garment} and {outfit.lower}' if outfit.lower != 'skirt' else f'{garment} and a skirt'
    )
    who = str(rng.choice([f'a person in {garment}', f'someone wearing {clothes}']))
    does, doing = _PHRASES[label]
    others = '' if num_others == 0 else _NUMBERS[num_others]
    stay = 'stays' if num_others == 1 else 'stay'
    sentences = [
        f'{who} {does} {place}' + (f' while {others} {stay} in the background' if others else ''),
        f'{who} is {doing} {place}' + (f', with {others} nearby' if others else ', alone'),
        f'{place}, {who} {does}' + (f'; {others} {stay} idle' if others else ''),
    ]
    sentence = str(rng.choice(sentences))
    return f'{sentence[0].upper()}{sentence[1:]}.'


def make_motion_caption(rng: np.random.Generator, label: str | None) -> str:
    """
    Return one short sentence about what somebody does, whoever and wherever that is.

    :param label: What the main person does.
    """
    does, doing = _PHRASES[label]
    who = str(rng.choice(['A person', 'Someone']))
    return f'{who} {rng.choice([does, f"is {doing}"])}.'


def make_activity_caption(activities: Sequence[str], place: str) -> str:
    """Return the sentence about people who each do something of their own."""
    doing = [f'somebody is {activity}' for activity in activities]
    listed = ', '.join(doing[:-1]) + ' and ' + doing[-1] if len(doing) > 1 else doing[0]
    return f'{place[0].upper()}{place[1:]}, {listed}.'


def make_empty_caption(place: str) -> str:
    """Return the sentence about a place where nobody is."""
    return f'Nobody is {place}.'
