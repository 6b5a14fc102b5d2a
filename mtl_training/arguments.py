"""
Command-line overrides of a config.

Entries with a fixed name are options of the parser, with their type and help. Entries below a
mapping (``data.action.train.num_clips``) have names that only the config knows: they are taken
from the command line before the parser sees it. Both are checked by the dataclasses in the end.
"""

from __future__ import annotations

from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, MISSING
from difflib import get_close_matches
from inspect import cleandoc
import re
import sys
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, SUPPRESS
from mtl_training.config import parse_value, TrainingConfig

Override = tuple[str, Any]


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of a description: they hold examples."""

    def _get_help_string(self, action: Action) -> str:
        # Everything is taken as text at first; the metavar tells what it must be.
        text = super()._get_help_string(action)
        for shown in (' (type: %(type)s)', 'type: %(type)s, '):
            text = text.replace(shown, '')
        return text


class OneLineParser(ArgumentParser):
    """A parser whose errors are one line, with the nearest option when one is unknown."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and leave with exit code 2."""
        text = ' '.join(message.split())
        if match := re.search(r'unrecognized arguments: (--[^\s=]+)', text):
            options = [o for action in self._actions for o in action.option_strings]
            near = get_close_matches(match[1], options, n=1)
            text = f"unknown option '{match[1]}'."
            text += f" Did you mean '{near[0]}'?" if near else f" See '{self.prog} --help'."
        print(f'error: {text}', file=sys.stderr)
        sys.exit(2)


def add_config_arguments(parser: ArgumentParser) -> None:
    """Add an option for every entry of a training config that has a fixed name."""
    group = parser.add_argument_group(
        'entries of the config',
        'Each wins over the file. Entries below data, network.trunks, network.tasks and settings '
        'work alike: --network.trunks.clip.width 32 --data.action.train.num_clips 500',
    )
    for name, hint, text in _leaves(TrainingConfig):
        # Taken as text: the dataclasses know the types, and say more clearly what is wrong.
        group.add_argument(f'--{name}', type=str, default=SUPPRESS, metavar=hint, help=text)


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[Override]]:
    """
    Separate the overrides of entries below mappings from the other arguments.

    In the rest, the entries of the config are spelt with underscores.

    :raises ValueError: If an override has no value.
    """
    sections = tuple(_sections(TrainingConfig))
    entries = {name for name, _, _ in _leaves(TrainingConfig)}
    rest: list[str] = []
    overrides: list[Override] = []
    pending = iter(arguments)
    for argument in pending:
        name, has_value, text = argument.removeprefix('--').partition('=')
        inside = any(name == section or name.startswith(f'{section}.') for section in sections)
        if not (argument.startswith('--') and inside):
            spelt = name.replace('-', '_')  # --batch-size is as good as --batch_size
            known = argument.startswith('--') and spelt in entries
            rest.append(argument.replace(name, spelt, 1) if known else argument)
            continue
        if not has_value:
            value = next(pending, None)
            if value is None:
                raise ValueError(f"the option '--{name}' needs a value.")
            text = value
        overrides.append((name, parse_value(text)))
    return rest, overrides


def fixed_overrides(arguments: Mapping[str, Any]) -> list[Override]:
    """Return the overrides among parsed arguments."""
    found: list[Override] = []
    for name, _, _ in _leaves(TrainingConfig):
        value: Any = arguments
        for part in name.split('.'):
            value = value.get(part, MISSING) if isinstance(value, Mapping) else MISSING
        if value is not MISSING:
            found.append((name, parse_value(value)))
    return found


def _leaves(cls: type[Any], prefix: str = '') -> Iterator[tuple[str, str, str]]:
    hints, texts = get_type_hints(cls), _parameter_texts(cls)
    for entry in fields(cls):
        hint, name = hints[entry.name], f'{prefix}{entry.name}'
        if is_dataclass(hint):
            yield from _leaves(hint, f'{name}.')  # type: ignore[arg-type]
        elif get_origin(hint) is not dict and not _is_optional_section(hint):
            default = '' if entry.default is MISSING else f' (default: {entry.default})'
            shown = hint.__name__ if isinstance(hint, type) else str(hint)
            yield name, shown.upper(), texts.get(entry.name, '') + default


def _sections(cls: type[Any], prefix: str = '') -> Iterator[str]:
    hints = get_type_hints(cls)
    for entry in fields(cls):
        hint, name = hints[entry.name], f'{prefix}{entry.name}'
        if is_dataclass(hint):
            yield from _sections(hint, f'{name}.')  # type: ignore[arg-type]
        elif get_origin(hint) is dict or _is_optional_section(hint):
            yield name


def _is_optional_section(hint: Any) -> bool:
    return any(is_dataclass(inner) for inner in get_args(hint)) and get_origin(hint) is UnionType


def _parameter_texts(cls: type[Any]) -> dict[str, str]:
    # With the lines that go on, which are indented; from 3.13 on, docstrings come without indents.
    found = re.findall(
        r'^:param (\w+): (.+(?:\n +.+)*)', cleandoc(cls.__doc__ or ''), re.MULTILINE
    )
    return {name: ' '.join(text.split()) for name, text in found}
