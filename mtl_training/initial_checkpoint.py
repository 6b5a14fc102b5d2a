"""Starting from another checkpoint: its trunks and heads of the same names."""

from __future__ import annotations

from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork


def load_parts(network: MultiTaskNetwork, path: str) -> list[str]:
    """
    Give a network the trunks and heads that a checkpoint has under the same names.

    Everything is checked before anything is copied.

    :return: The names of these parts, as ``trunks.clip`` or ``heads.action``.
    :raises ValueError: If the file is no checkpoint, a part of the same name has another shape or
        labels, or no part has a name of the checkpoint's.
    """
    checkpoint = load_checkpoint(path)
    theirs = checkpoint.state_dict
    parts = [
        f'{kind}.{name}'
        for kind in ('trunks', 'heads')
        for name in getattr(network, kind)
        if any(key.startswith(f'{kind}.{name}.') for key in theirs)
    ]
    if not parts:
        raise ValueError(
            f"init_checkpoint '{path}' has no trunk or task of this network; it has the trunks "
            f'{[*checkpoint.config.trunks]} and the tasks {[*checkpoint.config.tasks]}.'
        )
    for part in parts:
        _check(network, part, path, theirs, checkpoint.config.tasks)
    for part in parts:
        module = network.get_submodule(part)
        prefix = f'{part}.'
        module.load_state_dict(
            {key[len(prefix) :]: value for key, value in theirs.items() if key.startswith(prefix)}
        )
    return parts


def trunks_of(path: str) -> list[str]:
    """
    Return the names of the trunks that a checkpoint has.

    :raises ValueError: If the file is no checkpoint.
    """
    config = load_checkpoint(path).config
    return [name for name in config.trunks if config.tasks_of(name)]


def _check(network: MultiTaskNetwork, part: str, path: str, theirs: dict, tasks: dict) -> None:  # type: ignore[type-arg]
    kind, _, name = part.partition('.')
    ours = {
        f'{part}.{key}': value for key, value in network.get_submodule(part).state_dict().items()
    }
    given = {key: value for key, value in theirs.items() if key.startswith(f'{part}.')}
    where = f"init_checkpoint '{path}' does not fit '{part}'"
    if missing := sorted(ours.keys() ^ given.keys()):
        raise ValueError(f"{where}: '{missing[0]}' is in one of them only.")
    for key, value in ours.items():
        if value.shape != given[key].shape:
            raise ValueError(
                f"{where}: '{key}' has shape {tuple(given[key].shape)}, the network expects "
                f'{tuple(value.shape)}.'
            )
    labels = network.config.tasks[name].labels if kind == 'heads' else ()
    if kind == 'heads' and tasks[name].labels != labels:
        raise ValueError(f'{where}: its labels are {[*tasks[name].labels]}, not {[*labels]}.')
