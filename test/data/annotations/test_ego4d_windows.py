"""Windows over actions, against slow plain loops."""

from hypothesis import given
from hypothesis import strategies as st
from mtl_training.data.annotations.ego4d import Action
from mtl_training.data.annotations.ego4d_windows import anticipation_windows, recognition_windows
import pytest

# Which clip each action belongs to, in any order.
OWNERS = st.lists(st.sampled_from('abc'), max_size=40)


def shuffled(owners: list[str], seed: int) -> list[Action]:
    """Return actions whose order in the file is not that of their index."""
    actions, counts = [], dict.fromkeys('abc', 0)
    for owner in owners:
        actions.append(Action('v', owner, 3 * counts[owner], 0, 1, 0, 0))
        counts[owner] += 1
    return sorted(actions, key=lambda a: hash((a.clip_uid > 'a', a.action_idx * 7919, seed)))


def in_order(actions: list[Action], clip: str) -> list[Action]:
    return sorted((a for a in actions if a.clip_uid == clip), key=lambda a: a.action_idx)


@given(owners=OWNERS, seed=st.integers(0, 9), length=st.sampled_from([1, 3, 9]))
def test_recognition_sees_the_neighbours_and_repeats_the_ends(
    owners: list[str], seed: int, length: int
) -> None:
    actions = shuffled(owners, seed)
    windows = recognition_windows(actions, length)
    assert windows.shape == (len(actions), length)
    for i, action in enumerate(actions):
        clip = in_order(actions, action.clip_uid)
        place = clip.index(action)
        steps = range(place - length // 2, place + length // 2 + 1)
        expected = [clip[min(max(step, 0), len(clip) - 1)] for step in steps]
        assert [actions[j] for j in windows[i]] == expected
        assert windows[i, length // 2] == i


@pytest.mark.parametrize('convention', ['forecasting', 'egopack'])
@given(
    owners=OWNERS,
    seed=st.integers(0, 9),
    num_inputs=st.integers(1, 3),
    num_futures=st.integers(0, 5),
)
def test_anticipation_has_every_run_of_a_clip(
    convention: str, owners: list[str], seed: int, num_inputs: int, num_futures: int
) -> None:
    actions = shuffled(owners, seed)
    windows = anticipation_windows(
        actions, num_inputs=num_inputs, num_futures=num_futures, convention=convention
    )
    assert windows.shape[1] == num_inputs + num_futures
    expected = []
    for clip in dict.fromkeys(a.clip_uid for a in actions):
        found = in_order(actions, clip)
        count = len(found) - num_inputs - num_futures
        if convention == 'forecasting':
            count += 1
        for start in range(count):
            expected.append(found[start : start + num_inputs + num_futures])
    assert [[actions[i] for i in row] for row in windows] == expected


def test_the_conventions_differ_by_one_window_a_clip() -> None:
    actions = shuffled(['a'] * 30 + ['b'] * 22 + ['c'] * 21, 0)
    # 30 actions hold 9 runs of 22, 22 one, and 21 none.
    assert len(anticipation_windows(actions)) == 9 + 1
    assert len(anticipation_windows(actions, convention='egopack')) == 8 + 0


def test_settings_that_make_no_windows_are_refused() -> None:
    with pytest.raises(ValueError, match='length must be odd and positive, got 4'):
        recognition_windows([], 4)
    with pytest.raises(ValueError, match=r'num_inputs must be at least 1 .*, got 0 and 20'):
        anticipation_windows([], num_inputs=0)
    with pytest.raises(ValueError, match=r"convention must be one of .*, got 'paper'"):
        anticipation_windows([], convention='paper')
