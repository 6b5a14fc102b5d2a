"""Which classes of several data sets are one: a file that people write and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mtl_training.config import read_yaml
from mtl_training.tables import nearest
import yaml

_LAYOUT = "a merged class and a list of part/class patterns, such as 'wave: [ntu/hand waving]'"


def merged_names(
    classes: Mapping[str, Sequence[str]], mapping: str | Path | None
) -> dict[str, dict[str, str]]:
    """
    Return the name in the merged data set of each class of each part.

    Classes that the mapping does not name keep their own name.

    :param classes: Of each part, by its name.
    :param mapping: A YAML file with a list of patterns for each merged class. A pattern is
        ``part/class``; where no class has just this name, ``*`` stands for any text, ``?`` for
        any character and ``[ab]`` for one of some. ``None``: no class is merged.
    :raises ValueError: If the file is none, a pattern meets no class, a class is in two merged
        ones, or two classes have the same name without the mapping naming both.
    """
    names = {part: {one: one for one in own} for part, own in classes.items()}
    known = [f'{part}/{one}' for part, own in classes.items() for one in own]
    claimed: dict[str, str] = {}
    for name, pattern in _patterns(mapping) if mapping else ():
        for found in _matches(pattern, known, f"mapping '{mapping}': '{name}'"):
            if claimed.setdefault(found, name) != name:
                raise ValueError(
                    f"mapping '{mapping}': '{found}' is in two merged classes, "
                    f"'{claimed[found]}' and '{name}'."
                )
            part, _, one = found.partition('/')
            names[part][one] = name
    _refuse_namesakes(names, claimed)
    return names


def _patterns(path: str | Path) -> Iterator[tuple[str, str]]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(
            f"mapping '{path}' is not a file that exists, seen from '{Path.cwd()}'; expected "
            f'{_LAYOUT}.'
        )
    try:
        block = read_yaml(file)
    except ValueError as error:
        raise ValueError(f"mapping '{path}': {error}") from error
    _refuse_repeats(file)
    for name, patterns in block.items():
        if not isinstance(name, str) or not _is_texts(patterns):
            raise ValueError(
                f"mapping '{path}': expected {_LAYOUT}, with names in quotes where YAML takes "
                f'them for a number or for yes and no; got {name!r}: {patterns!r}.'
            )
        for pattern in patterns:
            yield name, pattern


def _refuse_repeats(file: Path) -> None:
    # YAML keeps the last of two entries with the same name, and says nothing.
    node = yaml.compose(file.read_text(encoding='utf-8'), Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            line = key.start_mark.line + 1
            raise ValueError(f"mapping '{file}', line {line}: '{key.value}' is there twice.")
        seen.add(key.value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(v, str) for v in value)


def _matches(pattern: str, known: Sequence[str], where: str) -> list[str]:
    if pattern in known:
        return [pattern]
    part, _, rest = pattern.partition('/')
    own = [one for one in known if one.startswith(f'{part}/')]
    found = [one for one in own if fnmatchcase(one.removeprefix(f'{part}/'), rest)]
    if not found:
        raise ValueError(f"{where} names '{pattern}', no class. {nearest(pattern, known)}")
    return found


def _refuse_namesakes(names: Mapping[str, Mapping[str, str]], claimed: Mapping[str, str]) -> None:
    owners: dict[str, str] = {}
    for part, own in names.items():
        for one, name in own.items():
            owner = owners.setdefault(name, f'{part}/{one}')
            # The members of a merged class meet on purpose; all others must not.
            if owner != f'{part}/{one}' and not {owner, f'{part}/{one}'} <= claimed.keys():
                raise ValueError(
                    f"'{owner}' and '{part}/{one}' would both be the class '{name}': let the "
                    'mapping name both, under one name or two.'
                )
