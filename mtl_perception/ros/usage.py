"""What the executable of a node answers to ``--help``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
import sys
from textwrap import fill
from typing import Any

_WIDTH = 79


def tells_usage(
    name: str, what: str, parameters: type[Any], args: Sequence[str] | None = None
) -> bool:
    """
    Print how a node is run, if its arguments ask for that.

    :param name: Of the executable.
    :param what: It does, in a sentence.
    :param parameters: The dataclass of its parameters.
    :param args: Of the command line; ``None``: those of this process.
    :return: Whether they asked.
    """
    given = list(sys.argv if args is None else args)
    # What comes after --ros-args is read by ROS.
    own = given[: given.index('--ros-args')] if '--ros-args' in given else given
    if not {'-h', '--help'} & set(own):
        return False
    print(usage(name, what, parameters))
    return True


def usage(name: str, what: str, parameters: type[Any]) -> str:
    """Return how a node is run and what its parameters are."""
    lines = [f'usage: {name} [--ros-args -p PARAMETER:=VALUE ... --params-file FILE]', '']
    lines += [fill(what, _WIDTH), '', 'Parameters:']
    for entry in fields(parameters):
        facts = [f'default {_shown(entry.default)}']
        if (limits := entry.metadata['limits']) is not None:
            facts.append(f'from {limits[0]:g} to {limits[1]:g}')
        if (choices := entry.metadata['choices']) is not None:
            facts.append(f'one of {", ".join(choices)}')
        text = f'{entry.metadata["description"]} ({"; ".join(facts)})'
        indent = ' ' * 6
        lines += [
            f'  {entry.name}',
            fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent),
        ]
    return '\n'.join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)
