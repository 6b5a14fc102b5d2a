"""The same report as one HTML file that needs nothing else: no scripts, no other files."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from mtl_training.reporting.document import (
    Block,
    Bullets,
    Details,
    Heading,
    Paragraph,
    Picture,
    Table,
)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; }
body { margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
div.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8886; text-align: right; }
th.name, td.name { text-align: left; }
th { border-bottom-width: 2px; }
img { max-width: 100%; background: white; border-radius: 4px; }
summary { cursor: pointer; margin: .6rem 0; }
"""


def to_html(blocks: Sequence[Block], title: str) -> str:
    """Return the blocks as a page; pictures are read and put into it."""
    body = '\n'.join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n'
        '</body></html>\n'
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level}>{escape(block.text)}</h{block.level}>'
    if isinstance(block, Paragraph):
        return f'<p>{escape(block.text)}</p>'
    if isinstance(block, Bullets):
        items = ''.join(f'<li>{escape(item)}</li>' for item in block.items)
        return f'<ul>{items}</ul>'
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Picture):
        data = base64.b64encode(block.path.read_bytes()).decode()
        return f'<p><img alt="{escape(block.text)}" src="data:image/png;base64,{data}"></p>'
    assert isinstance(block, Details)
    inner = '\n'.join(_html(one) for one in block.blocks)
    return f'<details><summary>{escape(block.title)}</summary>\n{inner}\n</details>'


def _html_table(table: Table) -> str:
    def cell(tag: str, text: str, place: tuple[int, int]) -> str:
        kind = ' class="name"' if place[1] < table.num_names else ''
        # Half transparent, so that the text stays readable on light and on dark pages.
        shade = table.shades.get(place)
        colour = '' if shade is None else f' style="background:rgb(30 130 230/{shade * 0.55:.2f})"'
        shown = f'<b>{escape(text)}</b>' if place in table.bold else escape(text)
        return f'<{tag}{kind}{colour}>{shown}</{tag}>'

    header = ''.join(cell('th', text, (-1, j)) for j, text in enumerate(table.header))
    rows = ''.join(
        '<tr>' + ''.join(cell('td', text, (i, j)) for j, text in enumerate(row)) + '</tr>\n'
        for i, row in enumerate(table.rows)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n'
        f'<tbody>{rows}</tbody></table></div>'
    )
