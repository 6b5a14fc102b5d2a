"""What the rendered people can do; left and right are the person's own, as in the data sets."""

ACTIONS: tuple[str, ...] = (
    'walk',
    'run',
    'sit_down',
    'stand_up',
    'jump',
    'squat',
    'bend',
    'kick',
    'throw',
)
GESTURES: tuple[str, ...] = (
    'wave',
    'point_left',
    'point_right',
    'swipe_left',
    'swipe_right',
    'stop',
    'beckon',
    'raise_both_hands',
    'clap',
)
ACTIVITIES: tuple[str, ...] = ('walking', 'running', 'sitting', 'standing')
# Scenes of people who each have one of the activities.
ACTIVITY = 'activity'

TASK_LABELS: dict[str, tuple[str, ...]] = {'action': ACTIONS, 'gesture': GESTURES}
# Clips of no task: people who do nothing in particular, and places without anybody.
BACKGROUND = 'nothing'
BACKGROUND_LABELS: tuple[str, ...] = ('idle', 'empty')

# What a clip shows once it is mirrored left to right; a label that is not named keeps its name.
_MIRRORED = {
    'point_left': 'point_right',
    'point_right': 'point_left',
    'swipe_left': 'swipe_right',
    'swipe_right': 'swipe_left',
}
FLIP_LABELS: dict[str, str] = {
    label: _MIRRORED.get(label, label) for label in (*ACTIONS, *GESTURES)
}


def task_of(label: str) -> str:
    """
    Return the task that a label belongs to.

    :param label: One of :data:`ACTIONS` or :data:`GESTURES`.
    :return: ``'action'`` or ``'gesture'``.
    :raises ValueError: If no task has this label.
    """
    for task, labels in TASK_LABELS.items():
        if label in labels:
            return task
    raise ValueError(f"label '{label}' is unknown; known labels: {[*ACTIONS, *GESTURES]}.")
