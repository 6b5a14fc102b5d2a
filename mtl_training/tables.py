"""Look-up in the tables of methods, with messages that help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
import inspect
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, TypeVar, Union

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
    :raises ValueError: If a setting is unknown, missing or of another type than annotated.
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
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    for name, value in settings.items():
        if not _fits(value, hints.get(name, Any)):
            shown = getattr(hints[name], '__name__', None)
            raise ValueError(f'{where}: {name} must be {shown or hints[name]}, got {value!r}.')
    return factory(*positional, **settings)


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple and isinstance(value, (list, tuple)):
        if inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return all(_fits(item, inner[0]) for item in value)
    kind = origin or hint
    if kind is Any:
        return True
    if isinstance(value, bool) and kind in (int, float):
        return False
    if kind is float:
        return isinstance(value, (int, float))
    return not isinstance(kind, type) or isinstance(value, kind)


def summary(entry: object) -> str:
    """Return the first line of the documentation of a table's entry."""
    text = inspect.getdoc(entry) or ''
    return text.strip().partition('\n')[0]
