"""Windows over the actions of a clip: what a network sees at once, and what it is to foresee."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_training.data.annotations.ego4d import Action
import numpy as np
from numpy.typing import NDArray

CONVENTIONS = ('forecasting', 'egopack')


def recognition_windows(actions: Sequence[Action], length: int = 9) -> NDArray[np.int64]:
    """
    Return the actions around each action of a clip, for its recognition.

    Windows that reach out of the clip repeat its first or last action.

    :param actions: Of any number of clips, A of them, in any order.
    :param length: Of a window; odd, so that it has a middle.
    :return: ``[A, length]`` indices into ``actions``; the middle of row i is i itself.
    :raises ValueError: If the length is not odd and positive.
    """
    if length < 1 or length % 2 == 0:
        raise ValueError(f'length must be odd and positive, got {length}.')
    windows = np.empty((len(actions), length), np.int64)
    steps = np.arange(length) - length // 2
    for rows in _clips(actions):
        places = np.arange(len(rows))[:, None] + steps
        windows[rows] = rows[places.clip(0, len(rows) - 1)]
    return windows


def anticipation_windows(
    actions: Sequence[Action],
    *,
    num_inputs: int = 2,
    num_futures: int = 20,
    convention: str = 'forecasting',
) -> NDArray[np.int64]:
    """
    Return the runs of actions of long-term anticipation: some that are seen, and those to come.

    A clip of L actions has ``L - num_inputs - num_futures + 1`` windows, as the benchmark's own
    code has it ("forecasting"). EgoPack's code leaves out the last of every clip ("egopack"), so
    numbers of the two are not comparable. The test split names no actions to come: there
    ``num_futures`` is 0.

    :param actions: Of any number of clips, in any order; those of a clip are sorted by their
        ``action_idx``.
    :param num_inputs: Actions that are seen.
    :param num_futures: Actions to foresee.
    :param convention: forecasting or egopack.
    :return: ``[W, num_inputs + num_futures]`` indices into ``actions``, clip by clip.
    :raises ValueError: If a number or the convention is none of those.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f'convention must be one of {CONVENTIONS}, got {convention!r}.')
    if num_inputs < 1 or num_futures < 0:
        raise ValueError(
            'num_inputs must be at least 1 and num_futures at least 0, got '
            f'{num_inputs} and {num_futures}.'
        )
    length = num_inputs + num_futures
    windows = [np.empty((0, length), np.int64)]
    for rows in _clips(actions):
        count = len(rows) - length + (convention == 'forecasting')
        if count > 0:
            windows.append(np.lib.stride_tricks.sliding_window_view(rows, length)[:count])
    return np.concatenate(windows)


def _clips(actions: Sequence[Action]) -> list[NDArray[np.int64]]:
    """Return the indices of the actions of each clip, in the order in which they are done."""
    clips: dict[str, list[int]] = {}
    for i, action in enumerate(actions):
        clips.setdefault(action.clip_uid, []).append(i)
    return [
        np.array(sorted(rows, key=lambda i: actions[i].action_idx), np.int64)
        for rows in clips.values()
    ]
