"""The command ``list``: every method and data set that a config can name, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
import json
import re
from typing import Any

from mtl_perception.network.backbones import BACKBONES
from mtl_perception.network.sharing import SHARING
from mtl_perception.network.temporal_graph.sharing import GRAPH_SHARING
from mtl_perception.network.temporal_graph.trunk import TemporalGraph
from mtl_training.arguments import OneLineParser
from mtl_training.costs import CostSettings, sharing_costs
from mtl_training.data.caption_sets import CAPTION_DATASETS
from mtl_training.data.clip_sets import DATASETS
from mtl_training.data.loading import FRAME_DATASETS
from mtl_training.data.segments.registry import GRAPH_DATASETS
from mtl_training.regimes import REGIMES
from mtl_training.tables import summary
from mtl_training.weighting import WEIGHTINGS
from rich.console import Console
from rich.table import Column, Table

KINDS = {
    'classification': 'clips: which of its labels a clip shows',
    'caption': 'clips: which sentences tell what a clip shows',
    'detection': 'frames: the boxes of people',
    'keypoints': 'frames: heatmaps of the joints of all people',
    'association': 'frames: whose joints are whose, by the Pose Residual Network',
    'activity': 'frames: what each person does, from their pose or their last few poses',
    'recognition': 'features: what the centre of a window shows, such as a verb and a noun',
    'anticipation': 'features: which actions follow what a window shows',
    'state_change': 'features: whether an object changes its state within a window',
    'point_of_no_return': 'features: when in a window an object changes its state',
}
TABLES: dict[str, Mapping[str, Any]] = {
    'backbones': {**BACKBONES, 'temporal_graph': TemporalGraph},
    'tasks': KINDS,
    'sharing': SHARING,
    'sharing of temporal graphs': GRAPH_SHARING,
    'weighting': WEIGHTINGS,
    'regimes': REGIMES,
    'datasets': DATASETS,
    'datasets of captions': CAPTION_DATASETS,
    'datasets of frames': FRAME_DATASETS,
    'datasets of windows': GRAPH_DATASETS,
}
COST_COLUMNS = {
    'parameters': ('parameters, M', 1e6),
    'deployed_parameters': ('deployed, M', 1e6),
    'training_macs': ('training, GMAC per clip of a task', 1e9),
    'deployed_macs': ('deployed, GMAC for all tasks', 1e9),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog='python -m mtl_training list',
        description='Name every method and data set that a config can use, in one line each.',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.add_argument(
        '--costs', action='store_true', help='print what each sharing method costs instead'
    )
    texts = dict(re.findall(r':param (\w+): (.+)', CostSettings.__doc__ or ''))
    names = [entry.name for entry in fields(CostSettings)]
    group = parser.add_argument_group('the network of --costs')
    for entry in fields(CostSettings):
        text = f'{texts[entry.name]} (default: {entry.default})'
        group.add_argument(f'--{entry.name}', type=int, default=entry.default, help=text)
    parsed = parser.parse_args(list(arguments))
    if parsed.costs:
        return _print_costs(CostSettings(**{n: parsed[n] for n in names}), as_json=parsed.json)
    return _print_listing(as_json=parsed.json)


def _print_listing(*, as_json: bool) -> int:
    listing = {
        kind: {
            name: entry if isinstance(entry, str) else summary(entry)
            for name, entry in entries.items()
        }
        for kind, entries in TABLES.items()
    }
    if as_json:
        print(json.dumps(listing))
        return 0
    table = Table('kind', 'name', 'what it is')
    for kind, entries in listing.items():
        for name, text in entries.items():
            table.add_row(kind, name, text)
        table.add_section()
    Console().print(table)
    return 0


def _print_costs(settings: CostSettings, *, as_json: bool) -> int:
    costs = {name: asdict(cost) for name, cost in sharing_costs(settings).items()}
    if as_json:
        print(json.dumps({'settings': asdict(settings), 'costs': costs}))
        return 0
    table = Table(Column('sharing', no_wrap=True), *(title for title, _ in COST_COLUMNS.values()))
    for name, cost in costs.items():
        values = [f'{cost[key] / unit:.3g}' for key, (_, unit) in COST_COLUMNS.items()]
        table.add_row(name, *values)
    Console().print(table)
    return 0
