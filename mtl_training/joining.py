"""One network of the trunks and heads of several: what was trained apart runs as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtl_perception.checkpoint import Checkpoint, load_checkpoint
from mtl_perception.network.config import CLIP_KINDS, NetworkConfig, TrunkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
from safetensors import safe_open
import torch
from torch import Tensor

# Figures of a checkpoint's metrics that are of one task each.
_PER_TASK = (
    'accuracy',
    'loss',
    'samples',
    'people',
    'captions',
    'multilabel',
    'videos',
    'segments',
)
_NARROW = {'F16': 'float16', 'BF16': 'bfloat16'}
# Parts of a training config that belong to single tasks.
_SECTIONS = ('data', 'losses', 'batch_sizes')


@dataclass(frozen=True, slots=True)
class Joined:
    """A network made of others, and what is known of it."""

    network: MultiTaskNetwork
    metrics: dict[str, Any]
    training: dict[str, Any]
    git_revision: str


def join_checkpoints(paths: Sequence[str], source: str | None = None) -> Joined:
    """
    Join checkpoints into one network with the trunks, heads and relevance heads of all.

    Its figures are those of its parts, task by task: nothing is retrained, and every output stays
    bit for bit what it was. Of figures over all tasks, those of the first
    part with clip tasks stay.

    :param source: The clip task whose features the memory trunk among them looks at, where that
        does not say.
    :raises ValueError: If there are fewer than two, one can't be read, two have a trunk or a task
        of the same name, the tasks don't fit together, or there is nothing for a source.
    """
    if len(paths) < 2:
        raise ValueError(f'checkpoints must be at least two to be joined, got {len(paths)}.')
    parts = {path: load_checkpoint(path) for path in map(str, paths)}
    if len(parts) < len(paths):
        raise ValueError(f'checkpoints must be distinct, got {[*map(str, paths)]}.')
    _check_names(parts)
    try:
        config = NetworkConfig(
            trunks=_with_source(
                {n: trunk for part in parts.values() for n, trunk in _trunks(part).items()}, source
            ),
            tasks={n: task for part in parts.values() for n, task in part.config.tasks.items()},
        )
    except ValueError as error:
        raise ValueError(f'the checkpoints {[*parts]} do not fit together: {error}') from error
    state: dict[str, Tensor] = {}
    for part in parts.values():
        state |= part.state_dict
    with torch.device('meta'):
        network = _build(config, [*parts])
    network.load_state_dict(state, assign=True)
    revisions = dict.fromkeys(p.git_revision for p in parts.values() if p.git_revision)
    return Joined(
        network.eval(),
        # What is said of all tasks together is of clips.
        _metrics([p.metrics for p in sorted(parts.values(), key=lambda p: not _has_clips(p))]),
        _training(parts),
        ' '.join(revisions),
    )


def _with_source(trunks: dict[str, TrunkConfig], source: str | None) -> dict[str, TrunkConfig]:
    """Return the trunks, that of windows of features with what it looks at."""
    if source is None:
        return trunks
    found = {
        name: trunk
        for name, trunk in trunks.items()
        if trunk.graph is not None and not trunk.graph.source
    }
    if len(found) != 1:
        raise ValueError(
            f"a source '{source}' is for one memory trunk that names none, got {[*found]}."
        )
    ((name, trunk),) = found.items()
    assert trunk.graph is not None
    return {**trunks, name: replace(trunk, graph=replace(trunk.graph, source=source))}


def _build(config: NetworkConfig, names: Sequence[str]) -> MultiTaskNetwork:
    try:
        return MultiTaskNetwork(config)
    except ValueError as error:
        raise ValueError(f'the checkpoints {[*names]} do not fit together: {error}') from error


def common_dtype(paths: Sequence[str]) -> str:
    """Return how the weights of checkpoints are stored; 'float32' where they differ."""
    found = set()
    for path in paths:
        with safe_open(path, framework='pt') as file:
            dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        # A tensor whose values would overflow is stored with more digits than the others.
        found.add(next((name for dtype, name in _NARROW.items() if dtype in dtypes), 'float32'))
    return found.pop() if len(found) == 1 else 'float32'


def _check_names(parts: dict[str, Checkpoint]) -> None:
    owners: dict[tuple[str, str], str] = {}
    for path, part in parts.items():
        for kind, names in (('trunk', _trunks(part)), ('task', part.config.tasks)):
            for name in names:
                other = owners.setdefault((kind, name), path)
                if other != path:
                    raise ValueError(
                        f"trunks and tasks must have different names to be joined, '{other}' and "
                        f"'{path}' both have a {kind} '{name}'."
                    )


def _has_clips(part: Checkpoint) -> bool:
    return any(task.kind in CLIP_KINDS for task in part.config.tasks.values())


def _trunks(part: Checkpoint) -> dict[str, Any]:
    return {name: t for name, t in part.config.trunks.items() if part.config.tasks_of(name)}


def _metrics(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of each split: those of the first part, with the others' tasks."""
    joined: dict[str, Any] = {}
    for metrics in parts:
        for split, figures in metrics.items():
            known = joined.setdefault(split, {})
            for name, value in figures.items():
                if name in _PER_TASK and isinstance(value, dict):
                    known[name] = {**known.get(name, {}), **value}
                elif name == 'relevance' and name in known:
                    # Each was judged on scenes of its own tasks.
                    tasks = {**known[name]['tasks'], **value['tasks']}
                    known[name] = {**known[name], 'tasks': tasks}
                else:
                    known.setdefault(name, value)
    return joined


def _training(parts: dict[str, Checkpoint]) -> dict[str, Any]:
    """Return the settings of all tasks, and the whole story of each part."""
    config: dict[str, Any] = {}
    for part in parts.values():
        trained = part.training.get('config') or {}
        for section in _SECTIONS:
            # A part may name more tasks than it still has.
            own = {t: v for t, v in (trained.get(section) or {}).items() if t in part.config.tasks}
            config[section] = {**config.get(section, {}), **own}
        if trained.get('relevance'):
            config.setdefault('relevance', trained['relevance'])
    return {
        'config': config,
        'joined': [
            {
                'file': path,
                'tasks': [*part.config.tasks],
                'metrics': part.metrics,
                'training': part.training,
                'git_revision': part.git_revision,
            }
            for path, part in parts.items()
        ],
    }
