"""The command ``list``: every method and data set that a config can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from typing import Any

from mtl_perception.network.backbones import BACKBONES
from mtl_perception.network.sharing import SHARING
from mtl_training.arguments import OneLineParser
from mtl_training.data.loading import DATASETS
from mtl_training.regimes import REGIMES
from mtl_training.tables import summary
from mtl_training.weighting import WEIGHTINGS
from rich.console import Console
from rich.table import Table

TABLES: dict[str, Mapping[str, Any]] = {
    'backbones': BACKBONES,
    'sharing': SHARING,
    'weighting': WEIGHTINGS,
    'regimes': REGIMES,
    'datasets': DATASETS,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog='python -m mtl_training list',
        description='Name every method and data set that a config can use, in one line each.',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed = parser.parse_args(list(arguments))
    listing = {
        kind: {name: summary(entry) for name, entry in entries.items()}
        for kind, entries in TABLES.items()
    }
    if parsed.json:
        print(json.dumps(listing))
        return 0
    table = Table('kind', 'name', 'what it is')
    for kind, entries in listing.items():
        for name, text in entries.items():
            table.add_row(kind, name, text)
        table.add_section()
    Console().print(table)
    return 0
