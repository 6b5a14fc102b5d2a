"""The command ``datasets describe``: what the data sets of a config hold."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path

from mtl_training.commands.dataset_arguments import make_parser, parse, ProgressBar, say
from mtl_training.dataset_tools import description_report
from mtl_training.dataset_tools.descriptions import describe_all
from mtl_training.dataset_tools.listing import chosen
from rich.console import Console

DESCRIPTION = """Tell what the data sets of a config hold, by their lists and annotations.

Per task and split: classes, samples per class (smallest / median / largest, and which are the
smallest), what the lists name and the disk lacks, groups of clips that must stay together, and
which classes of which parts were merged. With --out, the samples of every class are drawn to
classes_<task>.png. Nothing is decoded. A data set that is not there is told with its reason, and
the others are described; the exit code is 2 then.

Examples:
  python -m mtl_training datasets describe --config config/training/set3.yaml --out out/set3
  python -m mtl_training datasets describe --config config/training/folder.yaml --json \\
      --data.action.settings.root videos"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    parser = make_parser('describe', DESCRIPTION)
    parser.add_argument('--out', type=str, help='folder of the pictures')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parsed, config = parse(parser, arguments)
    with ProgressBar('people') as bar:
        found = describe_all(config, chosen(config, parsed.task, parsed.split), bar.show)
    pictures = []
    if parsed.out is not None:
        folder = Path(parsed.out)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = description_report.draw(found, folder)
    if parsed.json:
        facts = {'datasets': description_report.json_of(found), 'pictures': [*map(str, pictures)]}
        print(json.dumps(facts))
    else:
        console = Console()
        console.print(description_report.table_of(found))
        tables = (description_report.merged_table(one) for one in found)
        for table in filter(None, tables):
            console.print(table)
        say(console, [*description_report.notes_of(found), *map(str, pictures)])
    return 2 if any(one.error for one in found) else 0
