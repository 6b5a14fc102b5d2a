"""A report as a list of blocks, and its Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of plain texts."""

    items: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table of plain texts.

    :param bold: Cells (row, column) that stand out.
    :param shades: From 0 to 1 per cell, for tables to be seen as a map; where colours exist.
    :param num_names: Columns at the left that hold names, not figures.
    """

    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    shades: dict[tuple[int, int], float] = field(default_factory=dict)
    num_names: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG in a folder of pictures beside the report."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that are closed at first, where pages can do that."""

    title: str
    blocks: list[Block]


Block = Heading | Paragraph | Bullets | Table | Picture | Details


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return the blocks as Markdown; pictures are named from the report's folder."""
    return '\n\n'.join(_markdown(block) for block in blocks) + '\n'


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f'{"#" * block.level} {_escaped(block.text)}'
    if isinstance(block, Paragraph):
        return _escaped(block.text)
    if isinstance(block, Bullets):
        return '\n'.join(f'- {_escaped(item)}' for item in block.items)
    if isinstance(block, Table):
        return _markdown_table(block)
    if isinstance(block, Picture):
        return f'![{_escaped(block.text)}]({block.path.parent.name}/{block.path.name})'
    inner = to_markdown(block.blocks)
    return f'<details><summary>{_escaped(block.title)}</summary>\n\n{inner}\n</details>'


def _markdown_table(table: Table) -> str:
    rows = [
        [f'**{_escaped(c)}**' if (i, j) in table.bold else _escaped(c) for j, c in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    marks = ['---' if j < table.num_names else '---:' for j in range(len(table.header))]
    lines = [list(map(_escaped, table.header)), marks, *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _escaped(text: str) -> str:
    for sign in '\\|*_<[`':
        text = text.replace(sign, '\\' + sign)
    return ' '.join(text.split())
