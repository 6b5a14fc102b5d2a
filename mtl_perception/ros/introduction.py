"""What the node says of its checkpoint when it has been configured."""

from __future__ import annotations

from mtl_perception.network.config import TaskConfig
from mtl_perception.runtime.engine import Engine


def describe_engine(engine: Engine, num_threads: int) -> str:
    """Return what runs where, in one sentence."""
    tasks = ', '.join(f'{n} ({_describe_task(t)})' for n, t in engine.config.tasks.items())
    timings = ', '.join(
        f'{1e3 * sec:.1f} ms in {name}' for name, sec in engine.forward_sec.items()
    )
    threads = f' with {num_threads} threads' if engine.device.type == 'cpu' else ''
    return (
        f'Network of {engine.num_parameters / 1e6:.1f} M parameters on {engine.device}{threads} '
        f'in {engine.precision} for {tasks}; one forward took {timings}'
    )


def _describe_task(task: TaskConfig) -> str:
    if task.kind == 'caption':
        return 'captions'
    if task.kind == 'point_of_no_return':
        return 'moments'
    if task.groups:
        return ', '.join(f'{len(labels)} of {group}' for group, labels in task.groups.items())
    return f'{len(task.labels)} labels'


def unused_tasks(engine: Engine) -> list[str]:
    """Return which tasks nothing is ever said of, and why: a sentence for each reason."""
    return [
        complaint for complaint in (_mute_tasks(engine), _sourceless_tasks(engine)) if complaint
    ]


def _mute_tasks(engine: Engine) -> str:
    if engine.frame_trunk is not None and engine.finds_joints:
        return ''
    kinds = ('keypoints', 'association', 'activity')
    tasks = [task for kind in kinds if (task := engine.config.task_of_kind(kind)) is not None]
    return (
        f'The checkpoint has no use for {", ".join(tasks)}: joints, and what people do, '
        'take tasks of detection, keypoints and association'
        if tasks
        else ''
    )


def _sourceless_tasks(engine: Engine) -> str:
    trunks = engine.sourceless_trunks
    tasks = [task for trunk in trunks for task in engine.config.tasks_of(trunk)]
    entries = ' and '.join(f'network.trunks.{trunk}.graph.source' for trunk in trunks)
    return (
        f'The checkpoint has no use for {", ".join(tasks)}: they look at features that it does '
        f'not find in images itself. Train with {entries} set to the task of clips whose features '
        'are to be remembered'
        if tasks
        else ''
    )
