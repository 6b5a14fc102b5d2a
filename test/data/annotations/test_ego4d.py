"""Actions and changes of state of Ego4D, from files made up in its format."""

import json
from math import nan
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.ego4d import (
    overlapping,
    parse_action,
    parse_state_change,
    read_actions,
    read_state_changes,
    read_taxonomy,
    StateChange,
    Taxonomy,
)
import pytest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=4,
)
# Of the form of the published rows.
ACTION: dict[str, Any] = {
    'video_uid': '4c642620',
    'clip_uid': '5f4558be',
    'clip_parent_start_sec': 292.0,
    'clip_parent_end_sec': 608.0,
    'clip_parent_start_frame': 8760,
    'clip_parent_end_frame': 18240,
    'interval_start_frame': 9000,
    'interval_end_frame': 18000,
    'verb': 'touch',
    'noun': 'dough',
    'action_clip_start_sec': 4.7667,
    'action_clip_end_sec': 12.7667,
    'action_clip_start_frame': 143,
    'action_clip_end_frame': 383,
    'action_idx': 0,
    'verb_label': 98,
    'noun_label': 131,
}
CHANGE: dict[str, Any] = {
    'clip_uid': '857978a5',
    'clip_id': '622',
    'unique_id': '5f0b3bcc-1496_4-1504_4',
    'video_uid': '7c0c0057',
    'clip_start_frame': 157,
    'clip_end_frame': 372,
    'clip_pnr_frame': 268,
    'parent_start_sec': 1497.2333,
    'parent_end_sec': 1504.4,
    'parent_start_frame': 44917,
    'parent_end_frame': 45132,
    'state_change': True,
    'parent_pnr_frame': 45028,
}
TEST_CHANGE: dict[str, Any] = {
    'clip_id': '1397',
    'unique_id': '1397-230-238-1397',
    'video_uid': 'a6bd7096',
    'parent_start_sec': 230.6333,
    'parent_end_sec': 238.0,
    'parent_start_frame': 6919,
    'parent_end_frame': 7140,
}
LABELS = ('verb', 'noun', 'verb_label', 'noun_label')


def without(entry: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}


def write(root: Path, name: str, clips: list[Any], place: str = 'v1/annotations') -> None:
    """Write a file of annotations."""
    (root / place).mkdir(parents=True, exist_ok=True)
    content = {'version': '1', 'date': '', 'description': '', 'split': 'train', 'clips': clips}
    (root / place / name).write_text(json.dumps(content))


@pytest.mark.parametrize('place', ['v1/annotations', 'annotations'])
def test_frames_of_actions_are_of_the_whole_video(tmp_path: Path, place: str) -> None:
    write(tmp_path, 'fho_lta_train.json', [ACTION, {**ACTION, 'action_idx': 1}], place)
    first, second = read_actions('train', root=str(tmp_path))
    assert (first.start_frame, first.end_frame) == (8760 + 143, 8760 + 383)
    assert (first.verb, first.noun, first.action_idx, second.action_idx) == (98, 131, 0, 1)
    assert (first.video_uid, first.clip_uid) == ('4c642620', '5f4558be')


def test_actions_of_the_test_split_have_no_labels(tmp_path: Path) -> None:
    entry = {**without(ACTION, *LABELS), 'clip_id': 7}
    write(tmp_path, 'fho_lta_test_unannotated.json', [entry])
    (action,) = read_actions('test', root=str(tmp_path))
    assert action.verb is None
    assert action.noun is None
    write(tmp_path, 'fho_lta_val.json', [ACTION, entry])
    with pytest.raises(ValueError, match=r"fho_lta_val.json': clips\[1\] must have verb_label"):
        read_actions('val', root=str(tmp_path))


def test_labels_are_checked_against_the_taxonomy(tmp_path: Path) -> None:
    write(tmp_path, 'fho_lta_train.json', [ACTION])
    content = {'verbs': [f'v{i}' for i in range(115)], 'nouns': [f'n{i}' for i in range(131)]}
    (tmp_path / 'v1/annotations/fho_lta_taxonomy.json').write_text(json.dumps(content))
    taxonomy = read_taxonomy(str(tmp_path))
    assert taxonomy == Taxonomy(tuple(content['verbs']), tuple(content['nouns']))
    with pytest.raises(
        ValueError, match=r'clips\[0\]: noun_label must be less than the 131 .* 131'
    ):
        read_actions('train', root=str(tmp_path), taxonomy=taxonomy)
    larger = taxonomy._replace(nouns=(*taxonomy.nouns, 'dough'))
    assert len(read_actions('train', root=str(tmp_path), taxonomy=larger)) == 1


@pytest.mark.parametrize('nouns', [[], [1], None])
def test_a_taxonomy_of_no_names_is_refused(tmp_path: Path, nouns: Any) -> None:
    write(tmp_path, 'other.json', [])
    path = tmp_path / 'v1/annotations/fho_lta_taxonomy.json'
    path.write_text(json.dumps({'verbs': ['touch'], 'nouns': nouns}))
    with pytest.raises(ValueError, match=r"taxonomy.json'.*nouns"):
        read_taxonomy(str(tmp_path))


@pytest.mark.parametrize('pnr', [{}, {'parent_pnr_frame': None}, {'parent_pnr_frame': nan}])
def test_a_negative_has_no_point_of_no_return(tmp_path: Path, pnr: dict[str, Any]) -> None:
    absent = ('clip_start_frame', 'clip_end_frame', 'clip_pnr_frame', 'parent_pnr_frame')
    negative = {**without(CHANGE, *absent), 'state_change': False, 'clip_uid': None, **pnr}
    write(tmp_path, 'fho_oscc-pnr_train.json', [CHANGE, negative])
    positive, other = read_state_changes('train', root=str(tmp_path))
    assert positive == StateChange(
        unique_id='5f0b3bcc-1496_4-1504_4',
        video_uid='7c0c0057',
        clip_uid='857978a5',
        start_frame=44917,
        end_frame=45132,
        state_change=True,
        pnr_frame=45028,
    )
    assert (other.state_change, other.pnr_frame, other.clip_uid) == (False, None, None)
    assert other.start_frame == 44917


def test_intervals_of_the_test_split_tell_nothing(tmp_path: Path) -> None:
    write(tmp_path, 'fho_oscc-pnr_test_unannotated.json', [TEST_CHANGE])
    (change,) = read_state_changes('test', root=str(tmp_path))
    assert (change.state_change, change.pnr_frame, change.clip_uid) == (None, None, None)
    assert (change.start_frame, change.end_frame) == (6919, 7140)
    write(tmp_path, 'fho_oscc-pnr_val.json', [CHANGE, TEST_CHANGE])
    with pytest.raises(ValueError, match=r'clips\[1\] must have state_change, true or false'):
        read_state_changes('val', root=str(tmp_path))


def test_missing_files_and_unknown_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'fho_lta_train.json.*; the layout is <root>/v1/annotat'):
        read_actions('train', root=str(tmp_path))
    with pytest.raises(ValueError, match=r"split must be one of .*, got 'dev'"):
        read_state_changes('dev', root=str(tmp_path))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'action_clip_end_frame': 142},
            r'here: an action must end after its start 8903, got 8902',
        ),
        ({'action_clip_start_frame': None}, "here must have a number 'action_clip_start_frame'"),
        ({'action_idx': -1}, 'here: action_idx must be whole and at least 0'),
        ({'verb_label': 1.5}, 'here: verb_label must be whole'),
        ({'video_uid': 3}, 'here: video_uid must be a text'),
        ({'clip_uid': None}, "here must have a text 'clip_uid'"),
    ],
)
def test_actions_of_another_format_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_action('here', {**ACTION, **changes})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'state_change': 1}, 'here: state_change must be true or false, got 1'),
        ({'parent_end_frame': 0}, 'here: an interval must end after its start 44917, got 0'),
        ({'parent_pnr_frame': 'x'}, 'here: parent_pnr_frame must be a finite number'),
        ({'unique_id': None}, "here must have a text 'unique_id'"),
    ],
)
def test_changes_of_another_format_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_state_change('here', {**CHANGE, **changes})


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from('ab'),
            st.integers(0, 30),
            st.integers(0, 10),
            st.sampled_from([True, False, None]),
        ),
        max_size=8,
    )
)
def test_intervals_that_overlap_their_opposite_are_found(
    rows: list[tuple[str, int, int, bool | None]],
) -> None:
    changes = [
        StateChange(str(i), video, None, start, start + length, change, None)
        for i, (video, start, length, change) in enumerate(rows)
    ]
    frames = [set(range(c.start_frame, c.end_frame + 1)) for c in changes]
    expected = [
        any(
            a.video_uid == b.video_uid
            and frames[i] & frames[j]
            and {True, False} == {a.state_change, b.state_change}
            for j, b in enumerate(changes)
        )
        for i, a in enumerate(changes)
    ]
    assert overlapping(changes).tolist() == expected


@pytest.mark.parametrize('parse', [parse_action, parse_state_change], ids=lambda p: p.__name__)
@given(data=st.data())
def test_any_entry_gives_a_value_or_an_error_that_names_it(parse: Any, data: Any) -> None:
    entry = ACTION if parse is parse_action else CHANGE
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(entry)), JSON, max_size=3))
    try:
        assert parse('here', data.draw(st.just({**entry, **changes}) | JSON))
    except ValueError as error:
        assert str(error).startswith('here')  # noqa: PT017
