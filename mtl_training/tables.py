"""Look-up in the tables of methods, with messages that help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
import inspect
from typing import Any, TypeVar

T = TypeVar('T')


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a hint that names the nearest known name, or all of them."""
    near = get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else f'Known: {", ".join(known)}.'


def choose(table: Mapping[str, T], name: str, kind: str) -> T:
    """
    Return an entry of a table of methods.

    :raises ValueError: If there is none of this name; the message has the nearest one.
    """
    if name not in table:
        raise ValueError(f"Unknown {kind} '{name}'. {nearest(name, sorted(table))}")
    return table[name]


def call_with(
    factory: Callable[..., T], where: str, positional: Sequence[Any], settings: Mapping[str, Any]
) -> T:
    """
    Call a factory with settings from a config.

    :param where: What is being built, for messages.
    :raises ValueError: If a setting is unknown or missing.
    """
    signature = inspect.signature(factory)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    known = list(signature.parameters)[len(positional) :]
    for name in settings:
        if name not in known and not open_ended:
            raise ValueError(f"{where} has no setting '{name}'. {nearest(name, known)}")
    try:
        signature.bind(*positional, **settings)
    except TypeError as error:
        raise ValueError(f'{where}: {error}.') from error
    return factory(*positional, **settings)


def summary(entry: object) -> str:
    """Return the first line of the documentation of a table's entry."""
    text = inspect.getdoc(entry) or ''
    return text.strip().partition('\n')[0]
