"""Which rendered scenes a network is shown, and what is asked of it there."""

from __future__ import annotations

from mtl_perception.network.config import NetworkConfig
from mtl_perception.ros.demo.people_monitor import frame_tasks
from mtl_perception.ros.demo.scoring import ACTIVITY

SCENES_PER_CLASS = 2
_CLIP_TASKS = ('action', 'gesture')
# The kinds of scenes that take turns in a stream.
_TURNS = {'both': _CLIP_TASKS, 'all': (*_CLIP_TASKS, ACTIVITY)}
# Which kind of frame task each required figure is about.
_FIGURES = {
    'found_share': 'detection',
    'mean_oks': 'association',
    'activity_accuracy': 'activity',
}


def scenes_task(config: NetworkConfig) -> str:
    """Return the task of the scenes that show all that a network knows."""
    if 'detection' not in frame_tasks(config):
        return 'both'
    return 'all' if any(task in config.tasks for task in _CLIP_TASKS) else ACTIVITY


def scene_turns(config: NetworkConfig, task: str | None) -> tuple[str, ...]:
    """
    Return the kinds of scenes that take turns.

    :param task: Of the scenes; by default that of :func:`scenes_task`.
    """
    task = task or scenes_task(config)
    return _TURNS.get(task, (task,))


def default_num_scenes(config: NetworkConfig, turns: tuple[str, ...]) -> int:
    """
    Return how many scenes show each class twice.

    Each turn comes as often as the others; scenes of activities show several people each.
    """
    clips = [task for task in turns if task != ACTIVITY]
    counts = [SCENES_PER_CLASS * len(config.tasks[t].labels) for t in clips if t in config.tasks]
    if ACTIVITY in turns:
        known = frame_tasks(config).get('activity')
        num_labels = len(config.tasks[known].labels) if known else 1
        counts.append(max([SCENES_PER_CLASS * num_labels, *counts]))
    return sum(counts) or SCENES_PER_CLASS


def figures_asked(config: NetworkConfig, turns: tuple[str, ...]) -> list[str]:
    """Return the figures about people that a network must reach in the scenes of these turns."""
    known = frame_tasks(config)
    if 'detection' not in known or not turns:
        return []
    return [
        figure
        for figure, kind in _FIGURES.items()
        if kind in known and (figure != 'activity_accuracy' or ACTIVITY in turns)
    ]
