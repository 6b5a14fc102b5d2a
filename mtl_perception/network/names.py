"""What trunks, tasks and labels may be called."""

from __future__ import annotations

from torch import nn

# Names that a module container keeps for its own attributes.
RESERVED_NAMES = frozenset(dir(nn.ModuleDict()))


def check_name(kind: str, name: str) -> None:
    """
    Check a name that becomes that of a module and of a ROS topic.

    :param kind: Of what it is the name.
    :raises ValueError: If it is no ASCII identifier, or reserved.
    """
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(f'a {kind} name must be an ASCII identifier, got {name!r}.')
    if name in RESERVED_NAMES:
        raise ValueError(f'a {kind} must not be called {name!r}, a reserved name.')


def check_labels(entry: str, labels: tuple[str, ...]) -> None:
    """
    Check the labels of an entry of a config.

    :raises ValueError: If one is empty or there twice.
    """
    if '' in labels:
        raise ValueError(f'{entry} must not be empty strings, got {list(labels)}.')
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(f'{entry} must be distinct, got {twice} more than once.')
