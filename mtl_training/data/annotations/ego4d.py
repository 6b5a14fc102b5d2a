"""Actions and changes of state in Ego4D (Grauman et al., CVPR 2022), version 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl_training.data.annotations.tables import (
    count_of,
    load_entries,
    optional_number,
    optional_text,
    text_of,
)
from mtl_training.data.video_sets.lists import find_file
from mtl_training.data.videos.index import check_split
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 30  # of all videos
LAYOUT = (
    '<root>/v1/annotations/fho_lta_<train|val|test_unannotated>.json, fho_lta_taxonomy.json and '
    'fho_oscc-pnr_<train|val|test_unannotated>.json there'
)


class Taxonomy(NamedTuple):
    """What the labels of actions mean; sizes differ between versions."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]


class Action(NamedTuple):
    """One annotated action of long-term anticipation."""

    video_uid: str
    clip_uid: str
    action_idx: int  # in the order of the actions of its clip
    start_frame: int  # of the whole video, which features are indexed by
    end_frame: int
    verb: int | None  # label; None in the test split
    noun: int | None


class StateChange(NamedTuple):
    """One interval in which an object changes its state, or none does."""

    unique_id: str
    video_uid: str
    clip_uid: str | None
    start_frame: int  # of the whole video
    end_frame: int
    state_change: bool | None  # None in the test split
    pnr_frame: int | None  # point of no return, of the whole video; None without a change


def read_taxonomy(root: str) -> Taxonomy:
    """
    Read the names of verbs and nouns.

    :param root: The folder that holds v1, or v1 itself.
    :raises ValueError: If the file is missing or not of this format.
    """
    path = _find(root, 'fho_lta_taxonomy.json')
    verbs, nouns = (load_entries(path, key) for key in ('verbs', 'nouns'))
    for key, names in (('verbs', verbs), ('nouns', nouns)):
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"'{path}': {key} must be names, got {str(names)[:80]}.")
    return Taxonomy(tuple(verbs), tuple(nouns))


def read_actions(split: str, *, root: str, taxonomy: Taxonomy | None = None) -> tuple[Action, ...]:
    """
    Read the actions of long-term anticipation (LTA), in the order of the file.

    Action recognition (AR) is derived from the same actions. The test split has no labels.

    :param split: train, val or test.
    :param root: The folder that holds v1, or v1 itself.
    :param taxonomy: What the labels are checked against, if given.
    :raises ValueError: If the file is missing or an entry is not of this format.
    """
    path = _find(root, f'fho_lta_{_file_split(split)}.json')
    actions = []
    for i, entry in enumerate(load_entries(path, 'clips')):
        action = parse_action(f"'{path}': clips[{i}]", entry)
        if split != 'test' and (action.verb is None or action.noun is None):
            raise ValueError(f"'{path}': clips[{i}] must have verb_label and noun_label.")
        if taxonomy is not None:
            _check_labels(f"'{path}': clips[{i}]", action, taxonomy)
        actions.append(action)
    return tuple(actions)


def read_state_changes(split: str, *, root: str) -> tuple[StateChange, ...]:
    """
    Read the intervals of object state change classification (OSCC).

    Those of the point of no return (PNR) are the ones with a ``pnr_frame``. The test split has
    neither.

    :param split: train, val or test: version 1 has 41,085 and 28,348 in train and val.
    :param root: The folder that holds v1, or v1 itself.
    :raises ValueError: If the file is missing or an entry is not of this format.
    """
    path = _find(root, f'fho_oscc-pnr_{_file_split(split)}.json')
    changes = []
    for i, entry in enumerate(load_entries(path, 'clips')):
        change = parse_state_change(f"'{path}': clips[{i}]", entry)
        if split != 'test' and change.state_change is None:
            raise ValueError(f"'{path}': clips[{i}] must have state_change, true or false.")
        changes.append(change)
    return tuple(changes)


def parse_action(where: str, entry: Any) -> Action:
    """
    Return an entry of a file of long-term anticipation.

    :param where: The file and the place of the entry in it, for messages.
    :raises ValueError: If it is not of this format.
    """
    # The action is annotated in a clip that was cut from the video.
    offset = count_of(where, entry, 'clip_parent_start_frame')
    start = offset + count_of(where, entry, 'action_clip_start_frame')
    end = offset + count_of(where, entry, 'action_clip_end_frame')
    if end < start:
        raise ValueError(f'{where}: an action must end after its start {start}, got {end}.')
    return Action(
        video_uid=text_of(where, entry, 'video_uid'),
        clip_uid=text_of(where, entry, 'clip_uid'),
        action_idx=count_of(where, entry, 'action_idx'),
        start_frame=start,
        end_frame=end,
        verb=_optional_count(where, entry, 'verb_label'),
        noun=_optional_count(where, entry, 'noun_label'),
    )


def parse_state_change(where: str, entry: Any) -> StateChange:
    """
    Return an entry of a file of state changes.

    Only the frames of the whole video are read: those of the clip are missing in many entries
    without a change. The point of no return of such entries is absent, null or NaN.

    :param where: The file and the place of the entry in it, for messages.
    :raises ValueError: If it is not of this format.
    """
    start = count_of(where, entry, 'parent_start_frame')
    end = count_of(where, entry, 'parent_end_frame')
    if end < start:
        raise ValueError(f'{where}: an interval must end after its start {start}, got {end}.')
    change = entry.get('state_change')
    if change is not None and not isinstance(change, bool):
        raise ValueError(f'{where}: state_change must be true or false, got {change!r}.')
    return StateChange(
        unique_id=text_of(where, entry, 'unique_id'),
        video_uid=text_of(where, entry, 'video_uid'),
        clip_uid=optional_text(where, entry, 'clip_uid'),
        start_frame=start,
        end_frame=end,
        state_change=change,
        pnr_frame=_optional_count(where, entry, 'parent_pnr_frame'),
    )


def overlapping(changes: Sequence[StateChange]) -> NDArray[np.bool_]:
    """
    Tell which intervals overlap one of the same video that says the opposite, ``[N]``.

    Intervals overlap if they have a frame in common; both of them are marked.
    """
    found = np.zeros(len(changes), bool)
    videos: dict[str, list[int]] = {}
    for i, change in enumerate(changes):
        if change.state_change is not None:
            videos.setdefault(change.video_uid, []).append(i)
    for rows in videos.values():
        starts = np.array([changes[i].start_frame for i in rows])
        ends = np.array([changes[i].end_frame for i in rows])
        is_positive = np.array([changes[i].state_change for i in rows])
        meets = (starts[:, None] <= ends) & (starts <= ends[:, None])
        found[rows] = (meets & (is_positive[:, None] != is_positive)).any(1)
    return found


def _find(root: str, name: str) -> Path:
    places = ('v1/annotations', 'annotations')
    return find_file(root, *(f'{place}/{name}' for place in places), layout=LAYOUT)


def _file_split(split: str) -> str:
    check_split(split)
    return 'test_unannotated' if split == 'test' else split


def _optional_count(where: str, entry: Any, key: str) -> int | None:
    return None if optional_number(where, entry, key) is None else count_of(where, entry, key)


def _check_labels(where: str, action: Action, taxonomy: Taxonomy) -> None:
    for key, label, names in (
        ('verb_label', action.verb, taxonomy.verbs),
        ('noun_label', action.noun, taxonomy.nouns),
    ):
        if label is not None and label >= len(names):
            raise ValueError(
                f'{where}: {key} must be less than the {len(names)} of the taxonomy, got {label}.'
            )
